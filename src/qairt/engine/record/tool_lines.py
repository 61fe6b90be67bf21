"""Lines that tools write into an item's log: which of them mean nothing, and the last that mean something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from qairt.amounts import count
from qairt.files import log_tail

_HARMLESS = re.compile(
    r"File mapped weights feature is only available on Windows"
    r"|EPContext encryption config unavailable"
    r"|Failed to create HTP power config id"  # this machine has no NPU: it only compiles
    r"|# LIBNATIVE: No alternate configuration present"
)
"""In lines of ONNX Runtime's QNN provider and the compiler, of runs whose results are right."""
_LOOKED_AT = 60
"""Lines from the end among which the last ones of a tool are looked for."""


def is_harmless(line: str) -> bool:
    """Whether a tool's line, though it may say warning or error, is known to mean nothing."""
    return _HARMLESS.search(line) is not None


def last_lines(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a log, without control characters and harmless lines."""
    return [line for line in log_tail(log, _LOOKED_AT) if not is_harmless(line)][-lines:]


def folded(lines: Iterable[str]) -> Iterator[str]:
    """Lines with each series of harmless ones as a single one that counts them."""
    harmless = 0
    for line in lines:
        if is_harmless(line):
            harmless += 1
            continue
        if harmless:
            yield fold(harmless)
            harmless = 0
        yield line
    if harmless:
        yield fold(harmless)


def fold(number: int) -> str:
    """What stands for so many harmless lines."""
    return f"({count(number, 'line')} of the vendor's tools that {'means' if number == 1 else 'mean'} nothing)"
