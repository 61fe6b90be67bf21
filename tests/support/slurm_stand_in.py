"""A SLURM of this machine: `sbatch` starts a job's script, `scancel` ends its processes.

`python slurm_stand_in.py JOBS FOLDER` starts a `dask_jobqueue.SLURMCluster` of so many jobs as its documentation does,
prints the scheduler's address, and ends it with its standard input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_SBATCH = """#!/bin/sh
for script; do :; done
number=0
while ! mkdir "$SLURM_JOBS/$number" 2>/dev/null; do number=$((number + 1)); done
cp "$script" "$SLURM_JOBS/$number/script"
setsid sh "$SLURM_JOBS/$number/script" >"$SLURM_JOBS/$number/log" 2>&1 </dev/null &
echo $! >"$SLURM_JOBS/$number/pid"
echo "Submitted batch job $number"
"""
_SCANCEL = """#!/bin/sh
for number; do kill -9 -- "-$(cat "$SLURM_JOBS/$number/pid")"; done
"""


def install(folder: Path) -> dict[str, str]:
    """Put both programs into `folder/bin`; what a process needs in its environment to find them."""
    (folder / "jobs").mkdir(parents=True)
    (folder / "bin").mkdir()
    for name, script in (("sbatch", _SBATCH), ("scancel", _SCANCEL)):
        program = folder / "bin" / name
        program.write_text(script)
        program.chmod(0o755)
    return {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOBS": str(folder / "jobs")}


def main(jobs: int, folder: str) -> None:
    from dask_jobqueue import SLURMCluster

    with SLURMCluster(
        cores=1,
        processes=1,
        memory="2GB",
        interface="lo",
        local_directory=folder,
        log_directory=folder,
        scheduler_options={"dashboard_address": None},
    ) as cluster:
        cluster.scale(jobs=jobs)
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
