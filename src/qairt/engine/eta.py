"""How long a run takes: before it starts from what is expected of its items, then from how fast they went so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qairt.engine.run_state import MADE, UNMADE

if TYPE_CHECKING:
    from qairt.engine.run_state import ItemState, RunState

_AT_MOST = 0.95
"""How far an item that says nothing of its progress is thought to be, however long it takes."""


def wall_seconds(items: Iterable[tuple[str, float]], *, jobs: int) -> float:
    """Wall time of items given as `(stage, seconds)`: stages one after another, `jobs` items of a stage at once."""
    by_stage: dict[str, list[float]] = {}
    for stage, seconds in items:
        by_stage.setdefault(stage, []).append(seconds)
    return sum(max(sum(each) / max(jobs, 1), *each) for each in by_stage.values())


def left_seconds(state: RunState, now: float, *, jobs: int) -> float:
    """What is left of a run, by the pace of its finished items against what was expected of them."""
    done = [item for item in state.items.values() if item.status == "done"]
    expected = sum(item.expected_seconds for item in done)
    pace = sum(item.seconds for item in done) / expected if expected else 1.0
    unfinished = [item for item in state.items.values() if item.status in ("waiting", "running")]
    return wall_seconds([(item.stage, left_of(item, now, pace)) for item in unfinished], jobs=jobs)


def left_of(item: ItemState, now: float, pace: float = 1.0) -> float:
    """Seconds that are left of one item."""
    if item.status == "running" and item.started is not None and item.fraction > 0.1:
        elapsed = now - item.started
        return elapsed / item.fraction - elapsed
    return item.expected_seconds * pace * (1 - done_of(item, now))


def done_of(item: ItemState, now: float) -> float:
    """How far an item is, 0 … 1; by the clock where it does not say."""
    if item.status in MADE | UNMADE:
        return 1.0
    if item.status != "running" or item.started is None:
        return 0.0
    by_clock = (now - item.started) / item.expected_seconds if item.expected_seconds else 0.0
    return max(item.fraction, min(by_clock, _AT_MOST))


def fraction(state: RunState, now: float) -> float:
    """How far a run is, 0 … 1, weighted by time; cached items weigh nothing."""
    work = [item for item in state.items.values() if item.status != "cached"]
    total = sum(_weight(item) for item in work)
    return sum(_weight(item) * done_of(item, now) for item in work) / total if total else 1.0


def _weight(item: ItemState) -> float:
    seconds = item.seconds if item.status == "done" else item.expected_seconds
    return max(seconds, 0.01)
