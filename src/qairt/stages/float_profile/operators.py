"""Which operators a stretch of work spent its time and memory on, so that all rows add up to the time it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

BETWEEN = "(between operators)"
"""The row of what happens in a region outside every operator: Python, and waiting."""


@dataclass(frozen=True)
class Call:
    """One operator as it was recorded on one thread; times in microseconds."""

    name: str
    thread: int
    start: float
    end: float
    memory: int = 0
    """Bytes allocated less bytes freed while it ran, by itself and by what it called; CPU and GPU together."""
    flops: int = 0
    """Of this call alone, where torch knows a formula for it."""
    device: float = 0.0
    """Microseconds of the GPU kernels it started itself."""


class Operator(BaseModel):
    """All calls of one operator in a phase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    calls: int
    self_ms: float
    """Without what it called; these add up."""
    total_ms: float
    """With what it called; an operator inside itself counts once. These do not add up."""
    memory: int
    """Bytes it allocated less those it freed, without what it called; negative where it gave more back."""
    flops: int
    device_ms: float
    """Of its GPU kernels; they run beside the CPU, so they are no part of `self_ms`."""


class OperatorTable(BaseModel):
    """The operators of a phase, those with the most self time first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: str
    wall_ms: float
    """By the clock, around everything the table covers."""
    self_ms: float
    """The sum of all rows."""
    operators: list[Operator]

    @property
    def flops(self) -> int:
        return sum(operator.flops for operator in self.operators)

    def by_memory(self) -> list[Operator]:
        """Those that allocated something, the most first."""
        return sorted((row for row in self.operators if row.memory > 0), key=lambda row: (-row.memory, row.name))


def calls_of(events: Iterable[Any]) -> list[Call]:
    """What `torch.profiler.profile.events()` gives, as far as it ran on the CPU in one thread."""
    return [
        Call(
            name=str(event.name),
            thread=event.thread,
            start=event.time_range.start,
            end=event.time_range.end,
            memory=int(event.cpu_memory_usage) + int(event.device_memory_usage),
            flops=int(event.flops or 0),
            device=sum(kernel.duration for kernel in event.kernels),
        )
        for event in events
        if event.device_type.name == "CPU" and not event.is_async
    ]


def operator_table(calls: Sequence[Call], region: str, *, phase: str, wall_ms: float) -> OperatorTable:
    """The operators inside all regions called `region`.

    1. An operator that ran on another thread runs beside the region; it is no part of its time and is left out.
    2. A call's self time is its time less that of the calls directly inside it.
    3. Clocks are read one after the other, so a call can seem to end after its caller: it is cut off there. So the
       self times inside a region, with the region's own, add up to exactly its length.

    Args:
        calls: of all threads, in any order.
        region: name of the `torch.profiler.record_function` around the work.
        phase: what the table is called.
        wall_ms: by the clock, over all these regions.
    """
    rows: dict[str, _Row] = {}
    for root in [call for call in calls if call.name == region]:
        inside = [
            call
            for call in calls
            if call is not root and call.thread == root.thread and root.start <= call.start < root.end
        ]
        _add_up(root, inside, rows)
    operators = [row.operator(name) for name, row in rows.items()]
    operators.sort(key=lambda row: (-row.self_ms, row.name))
    return OperatorTable(
        phase=phase, wall_ms=wall_ms, self_ms=sum(row.self_ms for row in operators), operators=operators
    )


@dataclass
class _Row:
    calls: int = 0
    self_us: float = 0.0
    total_us: float = 0.0
    memory: int = 0
    flops: int = 0
    device_us: float = 0.0

    def operator(self, name: str) -> Operator:
        return Operator(
            name=name,
            calls=self.calls,
            self_ms=self.self_us / 1e3,
            total_ms=self.total_us / 1e3,
            memory=self.memory,
            flops=self.flops,
            device_ms=self.device_us / 1e3,
        )


def _add_up(root: Call, inside: Sequence[Call], rows: dict[str, _Row]) -> None:
    """Add the calls of one region to `rows`."""
    own_time = [root.end - root.start]
    own_memory = [root.memory]
    ordered = [root, *sorted(inside, key=lambda call: (call.start, -call.end))]
    ends = [root.end]
    open_calls = [0]
    for place, call in enumerate(ordered[1:], 1):
        while call.start >= ends[open_calls[-1]]:
            open_calls.pop()
        caller = open_calls[-1]
        end = min(call.end, ends[caller])
        ends.append(end)
        own_time.append(end - call.start)
        own_memory.append(call.memory)
        own_time[caller] -= end - call.start
        own_memory[caller] -= call.memory
        inside_itself = any(ordered[outer].name == call.name for outer in open_calls)
        open_calls.append(place)
        row = rows.setdefault(call.name, _Row())
        row.total_us += 0.0 if inside_itself else end - call.start
    for place, call in enumerate(ordered):
        row = rows.setdefault(call.name if place else BETWEEN, _Row())
        row.calls += 1
        row.self_us += own_time[place]
        row.memory += own_memory[place]
        row.flops += call.flops
        row.device_us += call.device
    rows[BETWEEN].total_us += root.end - root.start
