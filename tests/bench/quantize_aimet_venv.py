"""AIMET in an environment of its own, installed once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
TORCHVISION = "torchvision==0.28.0"
AIMET = "aimet-torch==2.42.0"
TRANSFORMERS = "transformers==5.23.0"
VERSIONS = (AIMET, TORCH, TRANSFORMERS)


def aimet_python(folder: Path, constraints: Path) -> Path:
    """The interpreter of AIMET's environment in `folder`, which is made if it is not there whole.

    Raises:
        SystemExit: a package cannot be installed.
    """
    python = folder / "bin" / "python"
    whole = folder / ".installed"
    if whole.is_file() and whole.read_text().split() == list(VERSIONS):
        return python
    print(f"Installing {AIMET} into {folder}: once, some minutes, about 2 GB.", flush=True)
    _call(sys.executable, "-m", "venv", "--clear", str(folder))
    install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraints)]
    # torch by its exact pin first: a looser request takes a build with gigabytes of CUDA packages.
    _call(*install, TORCH)
    _call(*install, "--no-deps", TORCHVISION)
    # It registers operators that this build of torch does not have; AIMET needs no more of it than that it imports.
    next(folder.glob("lib/python*/site-packages/torchvision/_meta_registrations.py")).write_text("")
    _call(*install, *VERSIONS)
    whole.write_text("\n".join(VERSIONS) + "\n")
    return python


def _call(*command: str) -> None:
    if subprocess.run(command).returncode:
        raise SystemExit(
            f"AIMET could not be installed; this failed:\n  {' '.join(command)}\n"
            "Is a package registry reachable? `--only ours` measures without AIMET."
        )
