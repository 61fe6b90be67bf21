"""A stand-in for nsys that checks its options, runs the given program and writes a file."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

STAND_IN = """\
#!{python}
import json, pathlib, subprocess, sys

arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("NVIDIA Nsight Systems version {version}")
    sys.exit(0)
known = {{"trace", "sample", "cpuctxsw", "force-overwrite", "output"}}
assert arguments[0] == "profile", arguments
options = dict(option[2:].split("=", 1) for option in arguments[1:] if option.startswith("--"))
assert set(options) == known, options
program = arguments[1 + len(options):]
assert not any(word.startswith("--") for word in program), program
code = {code} or subprocess.run(program).returncode
if {writes}:
    report = pathlib.Path(options["output"] + ".nsys-rep")
    report.write_text(json.dumps({{"options": options, "program": program}}))
sys.exit(code)
"""


def install(folder: Path, *, version: str = "2025.3.1", code: int = 0, writes: bool = True) -> Path:
    """Make `nsys` in `folder`; it ends with `code` without running anything when that is not 0."""
    folder.mkdir(exist_ok=True)
    path = folder / "nsys"
    path.write_text(STAND_IN.format(python=sys.executable, version=version, code=code, writes=writes))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder
