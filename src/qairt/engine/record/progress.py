"""How far a run is: which share of its plan is cached, made, in progress, lost and cancelled, by expected time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qairt.engine.record.eta import done_of
from qairt.engine.record.item_state import BUSY, MADE, ItemStatus

if TYPE_CHECKING:
    from qairt.engine.record.state import RunState

_LOST: frozenset[ItemStatus] = frozenset({"failed", "blocked"})
_CANCELLED: frozenset[ItemStatus] = frozenset({"cancelled", "interrupted"})
_LEAST = 0.01
"""Seconds that every item counts for."""


@dataclass(frozen=True)
class Progress:
    """Shares of the whole plan, 0 … 1; what is missing to 1 has not begun."""

    cached: float = 0.0
    done: float = 0.0
    """Made by this run."""
    running: float = 0.0
    """What running items have done so far, as they report it or by the clock."""
    lost: float = 0.0
    """Failed, or blocked by a failure."""
    cancelled: float = 0.0
    """Cancelled, or not finished when the run ended."""
    reported: float = 0.0
    """Of `running`, what those items report."""

    @property
    def certain(self) -> float:
        """The share of this run's own work that is done for sure, 0 … 1: finished items, and what running ones report,
        but nothing by the clock; 1 where there is no work."""
        work = 1 - self.cached
        return min((self.done + self.reported) / work, 1.0) if work > 1e-9 else 1.0


def progress_of(state: RunState, now: float) -> Progress:
    """The progress of a run at `now`. An item counts as much as the seconds that it is expected to take."""
    cached = done = running = reported = lost = cancelled = total = 0.0
    for item in state.items.values():
        if item.status == "on_demand":
            continue
        weight = max(item.expected_seconds, _LEAST)
        total += weight
        status = item.status
        if status == "cached":
            cached += weight
        elif status == "done" or status == "warn":
            done += weight
        elif status in BUSY:
            part = weight * done_of(item, now)
            running += part
            reported += part if item.fraction else 0.0
        elif status in _LOST:
            lost += weight
        elif status in _CANCELLED:
            cancelled += weight
    if not total:
        return Progress()
    return Progress(*(share / total for share in (cached, done, running, lost, cancelled, reported)))


def finished_of_work(state: RunState) -> tuple[int, int]:
    """How many items are made or reused, and how many are to be; those on demand are neither."""
    on_demand = state.count("on_demand")
    return state.count(*MADE) - on_demand, len(state.items) - on_demand
