"""A QAIRT SDK on this machine: its folder, version and tools.

Source: the layout in the public documentation ("Set up Qualcomm AI Runtime SDK"): tools in `bin/x86_64-linux-clang`,
libraries in `lib/x86_64-linux-clang`, Python 3.10, a folder named after the version.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from qairt.toolchain.qnn.htp_config import EXTENSIONS

ROOT_VARIABLE = "QAIRT_SDK_ROOT"
VENDOR_VARIABLE = "QNN_SDK_ROOT"
PLATFORM = "x86_64-linux-clang"
CONVERTER, QUANTIZER, GENERATOR = "qairt-converter", "qairt-quantizer", "qnn-context-binary-generator"
TOOLS = (CONVERTER, QUANTIZER, GENERATOR)
BACKEND, MODEL = "libQnnHtp.so", "libQnnModelDlc.so"
LIBRARIES = (BACKEND, MODEL, EXTENSIONS)
OLDEST, NEWEST = (2, 31), (2, 51)
"""Versions whose public documentation and reports show these commands. The newest is that of the wheel, which reads
back what the tools wrote."""
INSTALL = (
    "install the Qualcomm AI Runtime SDK (softwarecenter.qualcomm.com) and set QAIRT_SDK_ROOT to its folder, the one "
    "with bin/ and lib/; or use toolchain: qnn, which needs no SDK"
)


@dataclass(frozen=True)
class Sdk:
    """One SDK. Its folder exists; `qairt.toolchain.sdk.findings` says whether it is complete."""

    root: Path
    version: str
    """`2.43.0.260128`; empty where it cannot be found out."""

    @property
    def tools(self) -> Path:
        return self.root / "bin" / PLATFORM

    @property
    def libraries(self) -> Path:
        return self.root / "lib" / PLATFORM

    @property
    def python_modules(self) -> Path:
        return self.root / "lib" / "python"

    def tool(self, name: str) -> Path:
        return self.tools / name

    def describe(self) -> str:
        """Short and stable: part of cache keys."""
        return f"QAIRT SDK {self.version or 'of unknown version'}"


def numbers(version: str) -> tuple[int, ...]:
    """`2.43.0.260128` -> `(2, 43, 0, 260128)`."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def configured_root(setting: Path | None) -> Path | None:
    """The folder that `sdk_root`, or else the environment, names; None where neither does."""
    return setting if setting is not None else root_of_environment()


def root_of_environment() -> Path | None:
    """The folder in `$QAIRT_SDK_ROOT`, or in `$QNN_SDK_ROOT`, which the vendor's own scripts set."""
    named = [os.environ.get(variable, "").strip() for variable in (ROOT_VARIABLE, VENDOR_VARIABLE)]
    return next((Path(folder).expanduser().absolute() for folder in named if folder), None)
