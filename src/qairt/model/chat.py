"""Chat templates, rendered in a process of their own: they come with a model and are not trusted.

Jinja's sandbox keeps a template from everything outside of it. A loop without end, or a text that fills the memory,
ends with the process: see `qairt.model.chat_child`.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from qairt.child_process import ending_with_parent, python_command, python_environment
from qairt.errors import ModelError

if TYPE_CHECKING:
    from jinja2 import Template

Message = Mapping[str, object]
"""`{"role": "user", "content": "…"}`."""

CPU_SECONDS = 2
"""Of rendering; published templates take milliseconds."""
MEMORY = 1 << 30
"""Bytes of address space for the process that renders."""
MAX_PROMPT = 1 << 24
"""Characters of a prompt."""
_PATIENCE_S = 60
"""Until a process that gets no CPU time is given up."""


def render_chat(template: str, messages: Sequence[Message], **variables: object) -> str:
    """Render a conversation as a prompt.

    Args:
        template: Jinja as Hugging Face writes it.
        messages: the conversation so far.
        variables: what else the template may use: `add_generation_prompt`, `bos_token`, …; plain data.

    Raises:
        ModelError: the template is malformed, rejects these messages, or needs too much time or memory.
    """
    job = json.dumps({"template": template, "messages": list(messages), "variables": variables})
    try:
        child = subprocess.run(
            python_command("-m", "qairt.model.chat_child"),
            env=python_environment(),
            preexec_fn=ending_with_parent(),
            input=job.encode(),
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _too_slow() from error
    if child.returncode == -signal.SIGXCPU:
        raise _too_slow()
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise _cannot_render(*last or [f"its process ended with code {child.returncode}"])
    answer: dict[str, str] = json.loads(child.stdout)
    if "malformed" in answer:
        raise ModelError(f"the chat template is not Jinja: {answer['malformed']}", remedy=_PUBLISHED)
    if "rejection" in answer:
        raise ModelError(
            f"the chat template rejects these messages: {answer['rejection']}",
            remedy="use the roles that the model supports, or a prompt without a template",
        )
    if "fault" in answer:
        raise _cannot_render(answer["fault"])
    return answer["text"]


def render_here(template: str, messages: Sequence[Message], variables: Mapping[str, object]) -> str:
    """Render in this process, without limits.

    Raises:
        RejectedError: the template takes no such messages.
        jinja2.TemplateSyntaxError: it is malformed.
        Exception: whatever else it leads to.
    """
    stated = [{key: value for key, value in message.items() if value is not None} for message in messages]
    return _compiled(template).render(messages=stated, **variables)


class RejectedError(Exception):
    """What a template says of messages that it does not take."""


_PUBLISHED = "use the template that was published with the model, or a prompt without a template"


def _too_slow() -> ModelError:
    what = f"the chat template was stopped after {CPU_SECONDS} s: it may loop without end"
    return ModelError(what, remedy=_PUBLISHED)


def _cannot_render(why: str) -> ModelError:
    return ModelError(f"the chat template cannot render these messages: {why}", remedy=_PUBLISHED)


def _compiled(template: str) -> Template:
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationTag(Extension):
        """`{% generation %}` marks the assistant's text for training; here it only renders its content."""

        tags = {"generation"}  # noqa: RUF012 - jinja's own attribute

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise RejectedError(message)

    def tojson(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own escapes HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment.from_string(template)
