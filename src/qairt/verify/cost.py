"""What a rung on the emulator costs, reported before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.amounts import about, count
from qairt.model.parts import Part
from qairt.verify.text import GraphCall

START_S = 2.5
"""Seconds per graph to start its process and load the vendor's libraries."""
COMPILE_S, CALL_S, ROW_S = 0.4, 0.1, 0.003
"""Seconds per million weights: to compile for one AR; for a call; for each of its rows. Measured on SmolLM2-135M, one
thread of a 2-core x86 machine."""


def emulator_cost(parts: Sequence[Part], ars: Sequence[int], calls: Sequence[GraphCall]) -> str:
    """A sentence: what is compiled and run, and about how long it takes."""
    weights = sum(part.weight_bytes for part in parts if part.last_layer > part.first_layer) / 4e6
    rows = [call.ar for call in calls] + list(ars)
    seconds = START_S * len(parts) * len(ars)
    seconds += weights * (COMPILE_S * len(ars) + CALL_S * len(rows) + ROW_S * sum(rows))
    lengths, chained = " and ".join(map(str, sorted(ars))), count(len(calls), "call")
    return (
        f"htp_emulator: compiles {count(len(parts), 'part')} for AR {lengths} and emulates them: {chained} chained,"
        f" {len(ars)} isolated; about {about(seconds)}, one graph at a time in a child process"
    )
