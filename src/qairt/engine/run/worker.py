"""The child process of one item: `python -m qairt.engine.run.worker JOB_FOLDER`.

Its standard output and error are the item's log. It ends when its parent does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path


def main(folder: Path) -> int:
    _end_with_parent()
    from qairt.engine.run.jobs import PROGRESS, RESULT, Job, JobResult, run_job
    from qairt.engine.run.usage import usage_so_far
    from qairt.errors import QairtError
    from qairt.files import append_line, write_atomic

    job = Job.model_validate_json((folder / "job.json").read_bytes())

    said = ""

    def progress(fraction: float, message: str) -> None:
        nonlocal said
        append_line(folder / PROGRESS, {"fraction": round(fraction, 4), "message": message})
        if message != said:  # also into the log: it must not look dead while its tool says nothing
            print(f"{fraction:.0%} {message}", flush=True)
        said = message

    error = None
    try:
        run_job(job, progress)
    except QairtError as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr, flush=True)
        error = failure.as_dict()
    except MemoryError:
        traceback.print_exc()
        error = {
            "what": "it ran out of memory",
            "remedy": "run fewer items at once (--jobs 1) or split the model further",
        }
    except OSError as failure:
        traceback.print_exc()
        place = f" ({failure.filename})" if failure.filename else ""
        error = {
            "what": f"{failure.strerror or failure}{place}",
            "remedy": "free disk space or fix the permissions, then run again",
        }
    except Exception as failure:
        traceback.print_exc()
        error = {"what": f"{type(failure).__name__}: {failure}", "remedy": "the item's log has the traceback"}
    sys.stdout.flush()
    write_atomic(folder / RESULT, JobResult(error=error, usage=usage_so_far()).model_dump_json())
    # Vendor libraries tear down badly; everything of ours is on disk.
    os._exit(0 if error is None else 1)


def _end_with_parent() -> None:
    """The parent holds our standard input open; when it is gone, so are we."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        if hasattr(os, "killpg"):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)

    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, also while native code holds the interpreter
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
