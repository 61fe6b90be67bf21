"""Operator tables: where a region spent its time and memory. The rows add up to the region's time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch.autograd.profiler_util import FunctionEvent

BETWEEN = "(between operators)"
"""Row for time in the region but in no operator: Python and waiting."""


@dataclass(frozen=True)
class OperatorCall:
    """One recorded operator call on one thread; times in microseconds."""

    name: str
    thread: int
    start: float
    end: float
    memory: int = 0
    """Bytes allocated minus bytes freed during the call, callees included; CPU plus GPU."""
    flops: int = 0
    """Callees excluded; 0 if torch has no formula for the operator."""
    device: float = 0.0
    """Time of the GPU kernels launched by this call itself."""


class Operator(BaseModel):
    """All calls of one operator in a phase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    calls: int
    self_ms: float
    """Callees excluded; these add up."""
    total_ms: float
    """Callees included; a recursive call counts once. These do not add up."""
    memory: int
    """Bytes allocated minus bytes freed, callees excluded; negative if it freed more."""
    flops: int
    device_ms: float
    """Time of its GPU kernels. They run in parallel with the CPU and are not part of `self_ms`."""


class OperatorTable(BaseModel):
    """The operators of a phase, by descending self time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phase: str
    wall_ms: float
    """Wall time of everything the table covers."""
    self_ms: float
    """Sum over all rows."""
    operators: list[Operator]

    @property
    def flops(self) -> int:
        return sum(operator.flops for operator in self.operators)

    def by_memory(self) -> list[Operator]:
        """Operators with net allocations, by descending bytes."""
        return sorted((row for row in self.operators if row.memory > 0), key=lambda row: (-row.memory, row.name))


def calls_of(events: Iterable[FunctionEvent]) -> list[OperatorCall]:
    """The synchronous CPU calls among the events of `torch.profiler.profile.events()`."""
    return [
        OperatorCall(
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


def operator_table(calls: Sequence[OperatorCall], region: str, *, phase: str, wall_ms: float) -> OperatorTable:
    """Add up the calls inside all regions named `region`.

    1. Calls on other threads run in parallel with the region and are left out.
    2. Self time is a call's time minus that of its direct callees.
    3. A recorded call can end slightly after its caller; it is clipped to the caller's end. So the self times in a
       region, including the region's own, add up to exactly its duration.

    Args:
        calls: from all threads, in any order.
        region: name of the `torch.profiler.record_function` around the work.
        phase: name of the table.
        wall_ms: wall time of all these regions.
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


def _add_up(root: OperatorCall, inside: Sequence[OperatorCall], rows: dict[str, _Row]) -> None:
    """Add one region's calls to `rows`."""
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
