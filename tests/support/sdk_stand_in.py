"""A folder laid out like a QAIRT SDK, with stand-ins for its tools (see `sdk_tools`)."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path

import qnn_calls
import sdk_tools

PLATFORM = "x86_64-linux-clang"
VERSION = "2.43.0.260128"
SCRIPTS = ("qairt-converter", "qairt-quantizer")
PROGRAM = "qnn-context-binary-generator"


def install(root: Path, *, version: str = VERSION) -> Path:
    """Lay out an SDK in `root`; returns it.

    The converter and the quantizer are scripts for whatever Python is found, as the vendor's are; the generator is a
    program of its own.
    """
    tools, libraries, modules = root / "bin" / PLATFORM, root / "lib" / PLATFORM, root / "lib" / "python"
    for folder in (tools, libraries, modules, root / "notes", root / "faults"):
        folder.mkdir(parents=True)
    for name in ("libQnnHtp.so", "libQnnModelDlc.so", "libQnnHtpNetRunExtensions.so"):
        (libraries / name).touch()
    (root / "sdk.yaml").write_text(f"name: qairt\nversion: {version}\n")
    for module in (sdk_tools, qnn_calls):
        shutil.copy(str(module.__file__), modules)
    for name in (*SCRIPTS, PROGRAM):
        interpreter = "/usr/bin/env python3" if name in SCRIPTS else sys.executable
        (tools / name).write_text(f"#!{interpreter}\nimport sdk_tools\nsdk_tools.main({name!r})\n")
        (tools / name).chmod((tools / name).stat().st_mode | stat.S_IXUSR)
    return root


def let_fail(root: Path, tool: str, how: str) -> None:
    """Make a tool fail from now on: one of `sdk_tools.FAULTS`, or text that it prints before it exits with 1."""
    (root / "faults" / tool).write_text(how)


def calls(root: Path) -> list[str]:
    """The command lines of every call so far, each beginning with the tool's name."""
    path = root / "notes" / "calls"
    return path.read_text().splitlines() if path.exists() else []
