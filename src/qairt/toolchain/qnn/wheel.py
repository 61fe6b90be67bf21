"""The `onnxruntime-qnn` wheel: whether it is installed, its version, its libraries."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from qairt.errors import ToolchainNotAvailable

PACKAGE = "onnxruntime-qnn"
SUPPORTED = "2.7.0"
"""Known to work; older ones are rejected, newer ones are tried."""
REMEDY = f"pip install {PACKAGE}=={SUPPORTED} (x86-64 Linux, Python 3.11 or newer)"


def version() -> str:
    """E.g. `onnxruntime 1.31.1, onnxruntime-qnn 2.7.0`; part of cache keys. Imports neither.

    Raises:
        ToolchainNotAvailable: one of them is missing.
    """
    found = []
    for package in ("onnxruntime", PACKAGE):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            raise ToolchainNotAvailable(f"{package} is not installed", where="backend: HTP", remedy=REMEDY) from None
    return ", ".join(found)


def require() -> None:
    """Check the wheel by package metadata alone; `handshake` starts the compiler.

    Raises:
        ToolchainNotAvailable: the wheel is missing or older than the supported one.
    """
    version()
    installed = metadata.version(PACKAGE)
    if _numbers(installed) < _numbers(SUPPORTED):
        raise ToolchainNotAvailable(
            f"{PACKAGE} {installed} is too old, {SUPPORTED} is needed", where="backend: HTP", remedy=REMEDY
        )


def library_folder() -> Path | None:
    """The folder of the wheel's libraries; None when it is not installed."""
    from importlib.util import find_spec

    found = find_spec("onnxruntime_qnn")
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def library(name: str) -> Path:
    """One of the wheel's libraries; call `require` or `version` first."""
    folder = library_folder()
    assert folder is not None
    return folder / name


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
