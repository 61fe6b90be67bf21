"""Progress that is told in lines of a compiler's log.

Of QNN 2.51 (onnxruntime-qnn 2.7.0): the compiler itself tells nothing while it works on a graph. Not even its verbose
log does: between `FinalizeGraphs started` and `completed`, where the time goes, stands no line. What is told is which
of several graphs it works on, by a line of the process that calls it (`qnn_child`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""`progress(fraction, message)`."""

_GRAPH = re.compile(r"qairt: graph (\d{1,6}) of (\d{1,6})")


def silent(fraction: float, message: str) -> None:
    """Tells nobody."""


def step_of(line: str) -> tuple[float, str] | None:
    """What a line of the log says of the progress; None for all others.

    Returns:
        The fraction that is done, and what is being done: `(0.5, "compiling graph 2 of 2")`.
    """
    match = _GRAPH.fullmatch(line.strip())
    if match is None:
        return None
    number, count = int(match[1]), int(match[2])
    return ((number - 1) / count, f"compiling graph {number} of {count}") if 1 <= number <= count else None
