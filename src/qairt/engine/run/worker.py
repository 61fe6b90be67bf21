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
    from qairt.engine.run.jobs import PROGRESS, RESULT, Job, JobError, JobResult, run_job
    from qairt.engine.run.usage import usage_so_far
    from qairt.errors import QairtError, as_qairt_error
    from qairt.files import append_line, write_atomic

    job = Job.model_validate_json((folder / "job.json").read_bytes())

    logged = ""

    def progress(fraction: float, message: str) -> None:
        nonlocal logged
        append_line(folder / PROGRESS, {"fraction": round(fraction, 4), "message": message})
        if message != logged:  # also into the log, which must not look dead while a tool is silent
            print(f"{fraction:.0%} {message}", flush=True)
        logged = message

    error = None
    try:
        run_job(job, progress)
    except Exception as failure:
        if isinstance(failure, QairtError):
            print(f"{type(failure).__name__}: {failure}", file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        known = as_qairt_error(failure)
        remedy = known.remedy or (None if known is failure else "the item's log has the traceback")
        error = JobError(what=known.what, where=known.where, remedy=remedy)
    sys.stdout.flush()
    write_atomic(folder / RESULT, JobResult(error=error, usage=usage_so_far()).model_dump_json())
    # Vendor libraries may crash in their teardown; our results are on disk.
    os._exit(0 if error is None else 1)


def _end_with_parent() -> None:
    """End when the parent, which holds our standard input open, is gone."""

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
