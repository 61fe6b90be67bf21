"""Nsight Systems' command line: finding it, and running a job under it.

Source: the options are those of the Nsight Systems user guide, "CLI Profile Command Switch Options".
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from qairt.engine.run.jobs import Job
from qairt.errors import ToolchainError, ToolchainNotAvailable

_ANSWERS = 60.0
"""Seconds that nsys may take to say its version."""


def find_nsys() -> Path:
    """The program on PATH.

    Raises:
        ToolchainNotAvailable: there is none.
    """
    found = shutil.which("nsys")
    if found is None:
        raise ToolchainNotAvailable(
            "Nsight Systems is not installed: there is no nsys on PATH",
            where="stages.nsys",
            remedy="install it from NVIDIA (the CLI alone is enough), or take nsys out of the recipe's stages",
        )
    return Path(found)


def version_of(nsys: Path) -> str:
    """What it says of itself, `NVIDIA Nsight Systems version 2025.3.1.90-253135822126v0`.

    Raises:
        ToolchainNotAvailable: it does not run.
    """
    try:
        done = subprocess.run(
            [nsys, "--version"], capture_output=True, text=True, timeout=_ANSWERS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainNotAvailable(
            f"{nsys} does not run: {error}", where="stages.nsys", remedy="install Nsight Systems again"
        ) from error
    return done.stdout.strip()


def command(nsys: Path, report: Path, job: Path, *, cuda: bool) -> list[str]:
    """The command line that runs a job under nsys.

    Args:
        report: what it writes; its name ends in `.nsys-rep`.
        job: the file of a `Job`.
        cuda: watch the GPU too.
    """
    return [
        str(nsys),
        "profile",
        f"--trace={'cuda,cublas,nvtx,osrt' if cuda else 'nvtx,osrt'}",
        "--sample=none",
        "--cpuctxsw=none",
        "--force-overwrite=true",
        f"--output={report.with_suffix('')}",
        sys.executable,
        "-m",
        "qairt.stages.float_profile.nsys_workload",
        str(job),
    ]


def run_under_nsys(job: Job, report: Path, *, cuda: bool) -> None:
    """Run `job` in a process that nsys watches; what both say goes to this process's output.

    Raises:
        ToolchainNotAvailable: there is no nsys.
        ToolchainError: the job failed under it, or it left no report.
    """
    nsys = find_nsys()
    file = report.with_name("job.json")
    file.write_text(job.model_dump_json())
    line = command(nsys, report, file, cuda=cuda)
    print(" ".join(line), flush=True)
    code = subprocess.run(line, stdin=subprocess.DEVNULL, check=False).returncode
    file.unlink()
    if code != 0:
        raise ToolchainError(
            f"the run under Nsight Systems ended with code {code}",
            where="nsys profile",
            remedy="the item's log has what it said",
        )
    if not report.is_file():
        raise ToolchainError(
            f"Nsight Systems left no {report.name}",
            where="nsys profile",
            remedy="versions before 2021.4 write .qdrep: install a newer one",
        )
