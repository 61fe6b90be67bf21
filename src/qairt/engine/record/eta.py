"""Remaining time and progress of a run, from the expected cost of its items and its pace so far."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import TYPE_CHECKING

from qairt.engine.record.state import BUSY, MADE, UNMADE

if TYPE_CHECKING:
    from qairt.engine.record.state import ItemState, RunState

SURE = 3
"""Earlier runs from which on an expectation is not rough."""
STEADY = 5.0
"""Seconds for which a displayed ETA only counts down."""
_AT_MOST = 0.95
"""The most progress that is assumed of an item that reports none."""
_OVERDUE = 0.15
"""What is left of an overdue item, as a share of its elapsed time."""
_RELIABLE = 0.1
"""The fraction from which on the progress that a tool reports is used."""
_PRIOR = (0.05, 0.02)
"""Shares of a run after which its own pace has a weight of one half; with history, and without."""
_UNKNOWN = (0.5, 2.0)
"""The range of an estimate without history, as shares of it."""

_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Eta:
    """The remaining time of a run."""

    seconds: float
    low: float
    high: float
    """About half of such runs end between `low` and `high`."""
    rough: bool
    """A remaining stage has run less than three times before."""
    known: bool
    """Whether there is any history; if not, `seconds` is the stages' own estimate."""


@dataclass(frozen=True)
class _Pace:
    """Actual over expected seconds of items in this run."""

    by_stage: dict[str, float]
    with_history: float
    """Of items with history, for stages where nothing has run yet."""
    without_history: float
    """Of the others."""

    def of(self, item: ItemState) -> float:
        return self.by_stage.get(item.stage, self.with_history if item.samples else self.without_history)


def remaining(state: RunState, now: float, *, jobs: int | None = None, memory: int | None = None) -> Eta:
    """The remaining time of a run if its items are scheduled from now on; a pause is ignored.

    Args:
        jobs: items at a time; the run's own if left out.
        memory: bytes they may use in total, 0 for no limit; the run's own if left out.
    """
    left = [item for item in state.items.values() if item.status not in MADE and item.status not in UNMADE]
    if not left:
        return Eta(0.0, 0.0, 0.0, rough=False, known=True)
    pace = _pace_of(state, now)
    seconds = [left_of(item, now, pace.of(item)) for item in left]
    wall = _scheduled(left, seconds, jobs or state.jobs, state.memory if memory is None else memory)
    low, high = _spread(left, seconds)
    samples = _samples(state, left)
    return Eta(
        seconds=wall,
        low=wall * low,
        high=wall * high,
        rough=min(samples.values()) < SURE,
        known=any(samples.values()),
    )


class SmoothEta:
    """An ETA for display: it counts down for five seconds, then moves to the latest estimate."""

    def __init__(self) -> None:
        self._eta = Eta(0.0, 0.0, 0.0, rough=False, known=False)
        self._made = -inf
        self._of: tuple[str, str, bool] | None = None

    def at(self, state: RunState, now: float) -> Eta:
        """The remaining time at `now`."""
        of = (state.run_id, state.status, state.paused)
        if of != self._of or not 0 <= now - self._made < STEADY:
            self._eta, self._made, self._of = remaining(state, now), now, of
        if state.status != "running" or state.paused:
            return self._eta
        since, eta = now - self._made, self._eta
        return replace(
            eta, seconds=max(eta.seconds - since, 0.0), low=max(eta.low - since, 0.0), high=max(eta.high - since, 0.0)
        )


def format_eta(eta: Eta) -> str:
    """`ETA ~1h05m (45m-1h30m)`, followed by `rough` if little is known; a dash if nothing is known."""
    if not eta.known:
        return f"ETA {_DASH}"
    middle, low, high = _clock(eta.seconds), _clock(eta.low), _clock(eta.high)
    spread = f" ({low}{_DASH}{high})" if low != high else ""
    return f"ETA ~{middle}{spread}{' rough' if eta.rough else ''}"


def fraction(state: RunState, now: float) -> float:
    """Progress of a run, 0 … 1, weighted by expected time; cached items have no weight."""
    done = total = 0.0
    for item in state.items.values():
        if item.status != "cached":
            weight = max(item.expected_seconds, 0.01)
            done, total = done + weight * done_of(item, now), total + weight
    return done / total if total else 1.0


def done_of(item: ItemState, now: float) -> float:
    """Progress of an item, 0 … 1; by the clock if it reports none."""
    if item.status in MADE or item.status in UNMADE:
        return 1.0
    if item.status not in BUSY or item.started is None:
        return 0.0
    by_clock = max(now - item.started, 0.0) / item.expected_seconds if item.expected_seconds else 0.0
    return max(item.fraction, min(by_clock, _AT_MOST))


def left_of(item: ItemState, now: float, pace: float = 1.0) -> float:
    """Remaining seconds of one item, never negative.

    The progress that a tool reports gets more weight the further it is, because its steps differ, and all the weight
    without history. Of an overdue item a share of its elapsed time is left, so its remaining time grows.
    """
    if item.status in MADE or item.status in UNMADE:
        return 0.0
    expected = item.expected_seconds * pace
    if item.status not in BUSY or item.started is None:
        return expected
    elapsed = max(now - item.started, 0.0)
    by_clock = max(expected - elapsed, _OVERDUE * elapsed)
    if item.fraction <= _RELIABLE:
        return by_clock
    by_tool = elapsed / min(item.fraction, 1.0) - elapsed
    trust = item.fraction if item.samples else 1.0
    return trust * by_tool + (1 - trust) * by_clock


def wall_seconds(items: Iterable[tuple[str, float]], *, jobs: int) -> float:
    """Wall time of items given as `(stage, seconds)`: stages one after another, `jobs` items of a stage at a time.

    For some of a run's items; `remaining` knows their dependencies and covers a whole run.
    """
    by_stage: dict[str, list[float]] = {}
    for stage, seconds in items:
        by_stage.setdefault(stage, []).append(seconds)
    return sum(max(sum(each) / max(jobs, 1), *each) for each in by_stage.values())


# Inside


def _pace_of(state: RunState, now: float) -> _Pace:
    """The pace of each stage, drawn towards that of the run if few of its items are done, which is drawn towards 1."""
    took: dict[str, list[float]] = {}
    groups = {
        True: [0.0, 0.0, 0.0],
        False: [0.0, 0.0, 0.0],
    }  # by history: took, expected, total expected
    for item in state.items.values():
        expected = item.expected_seconds
        if item.status == "cached" or expected <= 0:
            continue
        group = groups[item.samples > 0]
        group[2] += expected
        if item.status == "done" or item.status == "warn":
            seconds = item.seconds
        elif item.status in BUSY and item.started is not None and now - item.started > expected:
            seconds = now - item.started
        else:
            continue
        group[0] += seconds
        group[1] += expected
        stage = took.setdefault(item.stage, [0.0, 0.0, 0.0, float(item.samples)])
        stage[0] += seconds
        stage[1] += expected
        stage[2] += 1
    with_history = _drawn(groups[True][0], groups[True][1], _PRIOR[0] * groups[True][2], 1.0)
    without_history = _drawn(groups[False][0], groups[False][1], _PRIOR[1] * groups[False][2], with_history)
    by_stage = {
        stage: _drawn(
            seconds,
            expected,
            (2.0 if samples else 0.5) * expected / number,
            with_history if samples else without_history,
        )
        for stage, (seconds, expected, number, samples) in took.items()
    }
    return _Pace(by_stage, with_history, without_history)


def _drawn(seconds: float, expected: float, weight: float, towards: float) -> float:
    """`seconds / expected`, drawn `towards` a value as if `weight` more seconds had run at that pace."""
    return (seconds + weight * towards) / (expected + weight) if expected + weight > 0 else towards


def _scheduled(items: list[ItemState], seconds: list[float], jobs: int, memory: int) -> float:
    """Seconds until the last of `items` ends. An item starts when its sources are finished, a job slot is free and its
    memory fits; the one at the start of the longest path comes first. Running items continue."""
    position = {item.name: number for number, item in enumerate(items)}
    sources = [[position[name] for name in item.sources if name in position] for item in items]
    dependents: list[list[int]] = [[] for _ in items]
    for number, needed in enumerate(sources):
        for source in needed:
            dependents[source].append(number)
    path = [0.0] * len(items)
    for number in range(len(items) - 1, -1, -1):  # dependents come after their sources
        path[number] = seconds[number] + max([path[other] for other in dependents[number]], default=0.0)
    missing = [len(needed) for needed in sources]
    least = min(item.expected_ram for item in items)
    ready: list[tuple[float, int]] = []
    running: list[tuple[float, int]] = []
    used = 0
    for number, item in enumerate(items):
        if item.status in BUSY:
            running.append((seconds[number], number))
            used += item.expected_ram
        elif not missing[number]:
            ready.append((-path[number], number))
    heapq.heapify(ready)
    heapq.heapify(running)
    now = 0.0
    while ready or running:
        passed = []
        while ready and len(running) < jobs and not (running and memory and used + least > memory):
            number = ready[0][1]
            if running and memory and used + items[number].expected_ram > memory:
                passed.append(heapq.heappop(ready))
                continue
            heapq.heappop(ready)
            used += items[number].expected_ram
            heapq.heappush(running, (now + seconds[number], number))
        for entry in passed:
            heapq.heappush(ready, entry)
        now, number = heapq.heappop(running)
        used -= items[number].expected_ram
        for other in dependents[number]:
            missing[other] -= 1
            if not missing[other] and items[other].status not in BUSY:
                heapq.heappush(ready, (-path[other], other))
    return now


def _spread(items: list[ItemState], seconds: list[float]) -> tuple[float, float]:
    """The range of the remaining time, as shares of it, in which about half of such runs end.

    Half of the spread of items is due to the machine and common to all; the rest is independent and averages out.
    """
    total = sum(seconds)
    if total <= 0:
        return 1.0, 1.0
    common, own = [0.0, 0.0], [0.0, 0.0]
    for item, left in zip(items, seconds, strict=True):
        expected = item.expected_seconds
        known = item.samples > 0 and expected > 0
        low, high = (item.expected_low / expected, item.expected_high / expected) if known else _UNKNOWN
        for side, share in enumerate((1 - low, high - 1)):
            width = left * max(share, 0.05)
            common[side] += width
            own[side] += width * width
    below, above = (
        0.5 * wide / total + sqrt(0.75 * squares) / total for wide, squares in zip(common, own, strict=True)
    )
    return max(1 - below, 0.0), 1 + above


def _samples(state: RunState, left: list[ItemState]) -> dict[str, int]:
    """For each remaining stage, the earlier runs of its least known item; items that this run made count too."""
    made: dict[str, int] = {}
    for item in state.items.values():
        if item.status == "done" or item.status == "warn":
            made[item.stage] = made.get(item.stage, 0) + 1
    known: dict[str, int] = {}
    for item in left:
        known[item.stage] = min(known.get(item.stage, item.samples), item.samples)
    return {stage: max(samples, made.get(stage, 0)) for stage, samples in known.items()}


def _clock(seconds: float) -> str:
    """`42s`, `3m20s`, `45m`, `1h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
