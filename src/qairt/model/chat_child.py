"""The process that renders one chat template, within limits of time and memory.

The conversation comes as JSON on standard input; one of `{"text": …}`, `{"malformed": …}`, `{"rejection":
…}` and `{"fault": …}` goes to standard output.
"""

from __future__ import annotations

import json
import resource
import sys

from qairt.model.chat import CPU_SECONDS, MAX_PROMPT, MEMORY, RejectedError, render_here

_LONGEST_FAULT = 300
"""Characters of a fault's text, which the template chooses."""


def main() -> None:
    from jinja2 import TemplateSyntaxError

    job = json.load(sys.stdin)
    limit()
    try:
        text = render_here(job["template"], job["messages"], job["variables"])
        if len(text) > MAX_PROMPT:
            raise ValueError(f"it writes more than {MAX_PROMPT:,} characters")
        answer = {"text": text}
    except TemplateSyntaxError as error:
        answer = {"malformed": f"line {error.lineno}: {error.message}"[:_LONGEST_FAULT]}
    except RejectedError as error:
        answer = {"rejection": f"{error}"[:_LONGEST_FAULT]}
    except MemoryError:
        answer = {"fault": f"it needs more than {MEMORY >> 30} GB of memory"}
    except Exception as error:  # a template can raise anything
        answer = {"fault": f"{error or type(error).__name__}"[:_LONGEST_FAULT]}
    sys.stdout.write(json.dumps(answer))


def limit() -> None:
    """From here on, the system ends this process when it takes more than a template may."""
    import jinja2.sandbox  # noqa: F401 - loading it is no part of the rendering

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main()
