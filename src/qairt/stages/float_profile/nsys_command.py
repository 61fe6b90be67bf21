"""Nsight Systems' command line: find `nsys`, and run a job under it.

Source: options from the Nsight Systems user guide, "CLI Profile Command Switch Options".
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from qairt.child_process import ending_with_parent, python_command, python_environment
from qairt.engine.run.jobs import Job
from qairt.errors import ToolchainError, ToolchainNotAvailable

_VERSION_TIMEOUT_S = 60.0


def find_nsys() -> Path:
    """Find `nsys` on PATH.

    Raises:
        ToolchainNotAvailable: it is not there.
    """
    found = shutil.which("nsys")
    if found is None:
        raise ToolchainNotAvailable(
            "Nsight Systems is not installed: nsys is not on PATH",
            where="stages.nsys",
            remedy="install it from NVIDIA (the CLI alone is enough), or remove nsys from the recipe's stages",
        )
    return Path(found)


def version_of(nsys: Path) -> str:
    """Its version line, such as `NVIDIA Nsight Systems version 2025.3.1.90-253135822126v0`.

    Raises:
        ToolchainNotAvailable: it cannot be run.
    """
    try:
        done = subprocess.run(
            [nsys, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
            preexec_fn=ending_with_parent(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainNotAvailable(
            f"{nsys} cannot be run: {error}", where="stages.nsys", remedy="reinstall Nsight Systems"
        ) from error
    return done.stdout.strip()


def command(nsys: Path, report: Path, job: Path, *, cuda: bool) -> list[str]:
    """The command line that runs a job under nsys.

    Args:
        report: the output file; its name ends in `.nsys-rep`.
        job: file that holds a `Job`.
        cuda: trace the GPU too.
    """
    return [
        str(nsys),
        "profile",
        f"--trace={'cuda,cublas,nvtx,osrt' if cuda else 'nvtx,osrt'}",
        "--sample=none",
        "--cpuctxsw=none",
        "--force-overwrite=true",
        f"--output={report.with_suffix('')}",
        *python_command("-m", "qairt.stages.float_profile.nsys_workload", str(job)),
    ]


def run_under_nsys(job: Job, report: Path, *, cuda: bool) -> None:
    """Run `job` in a child process under nsys; the output of both goes to this process's output.

    Raises:
        ToolchainNotAvailable: nsys is not installed.
        ToolchainError: the job failed, or there is no report.
    """
    nsys = find_nsys()
    file = report.with_name("job.json")
    file.write_text(job.model_dump_json(), encoding="utf-8")
    line = command(nsys, report, file, cuda=cuda)
    print(" ".join(line), flush=True)
    code = subprocess.run(
        line, stdin=subprocess.DEVNULL, env=python_environment(), preexec_fn=ending_with_parent(), check=False
    ).returncode
    file.unlink()
    if code != 0:
        raise ToolchainError(
            f"the run under Nsight Systems exited with code {code}",
            where="nsys profile",
            remedy="see the item's log for its output",
        )
    if not report.is_file():
        raise ToolchainError(
            f"Nsight Systems did not write {report.name}",
            where="nsys profile",
            remedy="install version 2021.4 or later: earlier ones write .qdrep",
        )
