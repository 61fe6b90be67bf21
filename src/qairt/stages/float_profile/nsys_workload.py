"""The process that nsys profiles: `python -m qairt.stages.float_profile.nsys_workload JOB`. Runs one item."""

from __future__ import annotations

import sys
from pathlib import Path

from qairt.engine.run.jobs import Job, run_job
from qairt.errors import QairtError
from qairt.files import read_regular


def main(file: Path) -> int:
    """Run the job in `file`; returns 1 on failure, with the reason on standard error."""
    job = Job.model_validate_json(read_regular(file))
    last = ""

    def progress(fraction: float, message: str) -> None:
        nonlocal last
        if message != last:
            print(f"{fraction:.0%} {message}", flush=True)
        last = message

    try:
        run_job(job, progress)
    except QairtError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
