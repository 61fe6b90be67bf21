"""The Python that runs an SDK's converter and quantizer. Not ours: the vendor's libraries are built for 3.10."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qairt.files import open_regular

VARIABLE = "QAIRT_SDK_PYTHON"
BUILT_FOR = (3, 10)
REMEDY = f"create a virtual environment with Python 3.10 for the SDK and set {VARIABLE} to its bin/python"
_QUERY = (
    "import json, sys, sysconfig;"
    "print(json.dumps([list(sys.version_info[:3]), sysconfig.get_config_var('LIBDIR') or '']))"
)
_TIMEOUT_S = 20


@dataclass(frozen=True)
class SdkPython:
    """A working interpreter."""

    path: Path
    version: tuple[int, int, int]
    libraries: str
    """The folder of its libpython."""

    def describe(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def find_python() -> SdkPython | None:
    """`$QAIRT_SDK_PYTHON` if set, else `python3.10` or `python3` on PATH; None where none works."""
    return next((found for candidate in _candidates() if (found := _query(candidate)) is not None), None)


def needs_python(tool: Path) -> bool:
    """Whether a tool is a Python script without a fixed interpreter: `#!/usr/bin/env python3`."""
    try:
        with open_regular(tool) as file:
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


def _query(path: str) -> SdkPython | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", _QUERY], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True, errors="replace"
        )
        version, libraries = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return SdkPython(Path(path), (version[0], version[1], version[2]), libraries)
