"""What a rung on the emulator costs, reported before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.amounts import about, count
from qairt.model.parts import Part, computing_weights
from qairt.runtime.emulator_cost import START_S, emulation_seconds
from qairt.verify.text import GraphCall


def emulator_cost(parts: Sequence[Part], ars: Sequence[int], calls: Sequence[GraphCall]) -> str:
    """A sentence: what is compiled and run, and about how long it takes."""
    rows = [call.ar for call in calls] + list(ars)
    seconds = START_S * (len(parts) - 1) * len(ars) + emulation_seconds(computing_weights(parts), ars, rows)
    lengths, chained = " and ".join(map(str, sorted(ars))), count(len(calls), "call")
    return (
        f"htp_emulator: compiles {count(len(parts), 'part')} for AR {lengths} and emulates them: {chained} chained,"
        f" {len(ars)} isolated; about {about(seconds)}, one graph at a time in a child process"
    )
