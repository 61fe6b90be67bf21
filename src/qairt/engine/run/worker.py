"""The processes of one item: `python -P -m qairt.engine.run.worker JOB_FOLDER`.

1. A guard is started, and forks the worker before anything large is imported.
2. The worker makes the item. Its standard output and error are the item's log.
3. The guard ends as the worker did, once nothing is left that the worker started: compilers, and what those started.
4. When the engine, which holds the guard's standard input open, ends or closes it, the guard ends them all.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from qairt.engine.run.guard import guard


def main(folder: Path) -> int:
    return guard(lambda: make_item(folder)) if hasattr(os, "fork") else make_item(folder)


def make_item(folder: Path) -> int:
    """Run the job in `folder` and write its result there; the process ends here."""
    from qairt.engine.run.jobs import PROGRESS, RESULT, Job, JobError, JobResult, run_job
    from qairt.engine.run.usage import usage_so_far
    from qairt.errors import QairtError
    from qairt.files import append_line, read_regular, write_atomic

    job = Job.model_validate_json(read_regular(folder / "job.json"))

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
        error = JobError.of(failure, job.directory)
    sys.stdout.flush()
    write_atomic(folder / RESULT, JobResult(error=error, usage=usage_so_far()).model_dump_json())
    # Vendor libraries may crash in their teardown; our results are on disk.
    os._exit(0 if error is None else 1)


if __name__ == "__main__":
    os._exit(main(Path(sys.argv[1])))
