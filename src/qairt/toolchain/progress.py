"""Progress of a compilation, read from the compiler's log.

QNN 2.51 (onnxruntime-qnn 2.7.0) reports nothing while it compiles a graph, not even in its verbose log, which has no
line between `FinalizeGraphs started` and `completed`. So the process that calls it (`qnn/compile_child.py`) prints
which of several graphs it is on.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called as `progress(fraction, message)`."""

_GRAPH = re.compile(r"qairt: graph (\d{1,6}) of (\d{1,6})")


def silent(fraction: float, message: str) -> None:
    """The `Progress` that reports nothing."""


def step_of(line: str) -> tuple[float, str] | None:
    """Parse a progress line of the log; None for any other line.

    Returns:
        The fraction done and the current step: `(0.5, "compiling graph 2 of 2")`.
    """
    match = _GRAPH.fullmatch(line.strip())
    if match is None:
        return None
    number, count = int(match[1]), int(match[2])
    return ((number - 1) / count, f"compiling graph {number} of {count}") if 1 <= number <= count else None
