"""Remaining time and progress of a run, from the expected cost of its items and its pace so far."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

from qairt.engine.record.item_state import BUSY, MADE, UNMADE

if TYPE_CHECKING:
    from qairt.engine.record.item_state import ItemState
    from qairt.engine.record.state import RunState

_DASH = "\N{EN DASH}"

_UNITS = (("s", 9.95, 1), ("s", 239.5, 0), ("min", 7170.0, 0), ("h", inf, 1))
"""A unit, the seconds below which it is used, and its digits after the point."""
STEADY = 5.0
"""Seconds for which a displayed estimate only counts down; less if less than four times as much is left."""
_GROWING = 1.0
"""The same while an item takes longer than estimated."""
_OVERDUE = 0.3
"""What is left of an overdue item, as a share of its elapsed time."""
_RELIABLE = 0.1
"""The fraction from which on the progress that a tool reports is used."""
_PRIOR = 0.05
"""The share of a run with history after which its own pace has a weight of one half."""
_SHORT = 15.0
"""Seconds of a stage whose pace tells half as much about other stages as that of a long one."""
_UNKNOWN = (0.5, 2.5)
"""The range of an estimate by size, as shares of it."""
_FROM_QUARTERS = 1.9
"""Half of the earlier runs lie between two quartiles; four of five in a range this much wider."""
_FEW_RUNS = 0.4
"""The least range of one earlier run, as a share of it; that of more of them is narrower by their square root."""
_COMMON = 0.85
"""How much of an item's spread is due to the machine, and so the same for all items; the rest averages out."""


@dataclass(frozen=True)
class Eta:
    """The remaining time of a run."""

    seconds: float
    low: float
    high: float
    """Four of five such runs end between `low` and `high`."""
    known: bool
    """Whether earlier runs, or finished items of this one, tell of every remaining stage; if not, sizes do."""

    @property
    def basis(self) -> str:
        return "from earlier runs" if self.known else "estimated"


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
        return Eta(0.0, 0.0, 0.0, known=True)
    pace = _pace_of(state, now)
    seconds = [left_of(item, now, pace.of(item)) for item in left]
    wall = _scheduled(left, seconds, jobs or state.jobs, state.memory if memory is None else memory)
    samples = _samples(state)
    low, high = _spread(left, seconds, samples, now)
    return Eta(wall, wall * low, wall * high, known=all(samples.get(item.stage, 0) for item in left))


class SmoothEta:
    """An ETA for display: it counts down for five seconds, then moves to the latest estimate; for one second while an
    item is overdue, whose estimate grows."""

    def __init__(self) -> None:
        self._eta = Eta(0.0, 0.0, 0.0, known=False)
        self._made = -inf
        self._of: tuple[str, str, bool] | None = None

    def at(self, state: RunState, now: float) -> Eta:
        """The remaining time at `now`."""
        of = (state.run_id, state.status, state.paused)
        steady = min(STEADY, self._eta.seconds / 4)
        if steady > _GROWING and any(is_overdue(item, now) for item in state.items.values()):
            steady = _GROWING
        if of != self._of or not 0 <= now - self._made < steady:
            self._eta, self._made, self._of = remaining(state, now), now, of
        if state.status != "running" or state.paused:
            return self._eta
        since, eta = now - self._made, self._eta
        return replace(
            eta, seconds=max(eta.seconds - since, 0.0), low=max(eta.low - since, 0.0), high=max(eta.high - since, 0.0)
        )


def in_words(eta: Eta) -> str:
    """About how long, and the range in the same unit: `about 21 min (15-35)` with an en dash."""
    for unit, most, digits in _UNITS:
        if eta.seconds < most:
            scale = {"s": 1, "min": 60, "h": 3600}[unit]
            middle, low, high = (f"{value / scale:,.{digits}f}" for value in (eta.seconds, eta.low, eta.high))
            spread = f" ({low}{_DASH}{high})" if low != high else ""
            return f"about {middle} {unit}{spread}"
    return ""


def is_overdue(item: ItemState, now: float) -> bool:
    """Whether a running item takes longer than was estimated, even at the upper end."""
    if item.status not in BUSY or item.started is None or not item.expected_seconds:
        return False
    return now - item.started > max(item.expected_seconds, item.expected_high) + 1.0


def done_of(item: ItemState, now: float) -> float:
    """Progress of an item, 0 … 1: what it reports, and before its first report by the clock, which never says done.

    It never steps back: where the clock was ahead of the first report, the reports divide what was left then.
    """
    if item.status in MADE:
        return 1.0
    if item.status not in BUSY or item.started is None:
        return 0.0
    if not item.fraction:
        return item.by_clock(now)
    fraction = min(item.fraction, 1.0)
    first, shown = item.first_report
    if not is_blended(item) or first >= 1.0:
        return fraction
    return shown + (1 - shown) * (fraction - first) / (1 - first)


def is_blended(item: ItemState) -> bool:
    """Whether its progress is not what its tool reports, because the clock was ahead of the first report."""
    first, shown = item.first_report
    return shown > first


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
    """The pace of each stage, drawn towards that of the run if few of its items are done, which is drawn towards 1.

    Items with history are slow or fast together, as the machine is. Estimates by size are wrong stage by stage, so
    there each stage counts once, and for less if it is short.
    """
    took: dict[str, list[float]] = {}
    seconds_of, expected_of, whole = 0.0, 0.0, 0.0  # of items with history
    for item in state.items.values():
        expected = item.expected_seconds
        if item.status == "cached" or expected <= 0:
            continue
        whole += expected if item.samples else 0.0
        if item.status == "done" or item.status == "warn":
            seconds = item.seconds
        elif item.status in BUSY and item.started is not None and now - item.started > expected:
            seconds = now - item.started
        else:
            continue
        if item.samples:
            seconds_of += seconds
            expected_of += expected
        stage = took.setdefault(item.stage, [0.0, 0.0, 0.0, float(item.samples)])
        stage[0] += seconds
        stage[1] += expected
        stage[2] += 1
    with_history = _drawn(seconds_of, expected_of, _PRIOR * whole, 1.0)
    wrong = weights = 0.0
    for seconds, expected, _, samples in took.values():
        if not samples and seconds > 0:
            weight = expected / (expected + _SHORT)
            wrong, weights = wrong + weight * log(seconds / expected), weights + weight
    without_history = with_history * exp(wrong / (weights + 0.5))
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
    ram = [_rounded(item.expected_ram) if memory else 0 for item in items]
    # By memory: only the first of each amount is looked at, however many wait.
    ready: dict[int, list[tuple[float, int]]] = {each: [] for each in ram}
    running: list[tuple[float, int]] = []
    used = 0
    for number, item in enumerate(items):
        if item.status in BUSY:
            running.append((seconds[number], number))
            used += ram[number]
        elif not missing[number]:
            heapq.heappush(ready[ram[number]], (-path[number], number))
    heapq.heapify(running)
    now = 0.0
    while True:
        while len(running) < jobs:
            free = memory - used if running and memory else inf
            first = min((waiting[0] for each, waiting in ready.items() if waiting and each <= free), default=None)
            if first is None:
                break
            number = first[1]
            heapq.heappop(ready[ram[number]])
            used += ram[number]
            heapq.heappush(running, (now + seconds[number], number))
        if not running:
            return now
        now, number = heapq.heappop(running)
        used -= ram[number]
        for other in dependents[number]:
            missing[other] -= 1
            if not missing[other] and items[other].status not in BUSY:
                heapq.heappush(ready[ram[other]], (-path[other], other))


def _rounded(count: int) -> int:
    """The next number of four significant bits: at most an eighth more."""
    shift = max(count.bit_length() - 4, 0)
    return -(-count >> shift) << shift


def _spread(items: list[ItemState], seconds: list[float], made: dict[str, int], now: float) -> tuple[float, float]:
    """The range of the remaining time, as shares of it, in which four of five such runs end.

    Args:
        made: by stage, how many items tell of it.
    """
    total = sum(seconds)
    if total <= 0:
        return 1.0, 1.0
    common, own = [0.0, 0.0], [0.0, 0.0]
    for item, left in zip(items, seconds, strict=True):
        for side, share in enumerate(_widths(item, left, made.get(item.stage, 0), now)):
            common[side] += left * share
            own[side] += (left * share) ** 2
    below, above = (
        sqrt((_COMMON * wide) ** 2 + (1 - _COMMON**2) * squares) / total
        for wide, squares in zip(common, own, strict=True)
    )
    return max(1 - below, 0.0), 1 + above


def _widths(item: ItemState, left: float, made: int, now: float) -> tuple[float, float]:
    """How far the remaining time of one item may lie below and above `left`, as shares of it."""
    if is_overdue(item, now) and left > 0 and item.started is not None:
        return 1.0, (now - item.started) / left
    if not item.samples and not made:
        return 1 - _UNKNOWN[0], _UNKNOWN[1] - 1
    least = _FEW_RUNS / sqrt(max(item.samples, made, 1))
    if not item.samples or item.expected_seconds <= 0:
        return least, least
    below, above = (
        _FROM_QUARTERS * abs(end / item.expected_seconds - 1) for end in (item.expected_low, item.expected_high)
    )
    return max(below, least), max(above, least)


def _samples(state: RunState) -> dict[str, int]:
    """How well each stage is known: the earlier runs of its least known item; items that this run made count too."""
    made: dict[str, int] = {}
    known: dict[str, int] = {}
    for item in state.items.values():
        if item.status == "done" or item.status == "warn":
            made[item.stage] = made.get(item.stage, 0) + 1
        elif item.status not in MADE and item.status not in UNMADE:
            known[item.stage] = min(known.get(item.stage, item.samples), item.samples)
    return {stage: max(samples, made.get(stage, 0)) for stage, samples in known.items()}
