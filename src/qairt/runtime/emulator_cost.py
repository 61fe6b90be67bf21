"""What emulation takes on this machine, from the number of weights."""

from __future__ import annotations

from collections.abc import Sequence

START_S = 2.5
"""Seconds per graph to start its process and load the vendor's libraries."""
COMPILE_S, CALL_S, ROW_S = 0.4, 0.1, 0.003
"""Seconds per million weights: to compile for one AR; for a call; for each of its rows. Measured on SmolLM2-135M, one
thread of a 2-core x86 machine."""


def emulation_seconds(weights: float, ars: Sequence[int], rows: Sequence[int]) -> float:
    """Seconds to compile a graph for each AR, and for one call for each of `rows`, its AR."""
    millions = weights / 1e6
    return START_S * len(ars) + millions * (COMPILE_S * len(ars) + CALL_S * len(rows) + ROW_S * sum(rows))


def piece_seconds(weights: float, ar: int) -> float:
    """Seconds to compile one layer or less, call it twice, and compare it with the CPU; measured as above."""
    return 1.0 + weights / 1e6 * (0.1 + 2 * (0.06 + 0.0025 * ar))
