"""How far a long piece of work is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Told the fraction done, 0 … 1, and what is being done."""


def within(progress: Progress, start: float, stop: float, what: str = "") -> Progress:
    """Progress of a part that begins at `start` and ends at `stop`; `what` goes before what it says."""
    before = f"{what}: " if what else ""
    return lambda fraction, message: progress(start + fraction * (stop - start), before + message)
