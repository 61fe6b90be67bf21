"""The Python that an SDK's converter and quantizer run with. Not ours: the vendor's libraries are built for 3.10."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "QAIRT_SDK_PYTHON"
BUILT_FOR = (3, 10)
REMEDY = f"make a virtual environment of Python 3.10 for the SDK and set {VARIABLE} to its bin/python"
_ASK = (
    "import json, sys, sysconfig;"
    "print(json.dumps([list(sys.version_info[:3]), sysconfig.get_config_var('LIBDIR') or '']))"
)
_SECONDS = 20


@dataclass(frozen=True)
class SdkPython:
    """An interpreter that answers."""

    path: Path
    version: tuple[int, int, int]
    libraries: str
    """Where its libpython lies."""

    def describe(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def find_python() -> SdkPython | None:
    """`$QAIRT_SDK_PYTHON` where that is set, else `python3.10`, else `python3` on PATH; None where none runs."""
    return next((found for candidate in _candidates() if (found := _asked(candidate)) is not None), None)


def needs_python(tool: Path) -> bool:
    """Whether a tool is a script for whatever Python is found: `#!/usr/bin/env python3`."""
    try:
        with tool.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"#!") and b"env python" in first


def _candidates() -> Iterator[str]:
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen:
        yield str(Path(chosen).expanduser())
        return
    for name in ("python3.10", "python3"):
        found = shutil.which(name)
        if found:
            yield found


def _asked(path: str) -> SdkPython | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=True, errors="replace"
        )
        version, libraries = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return SdkPython(Path(path), (version[0], version[1], version[2]), libraries)
