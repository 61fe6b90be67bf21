"""`history.jsonl`: what items cost when they ran, so that the next plan knows.

The file also has lines of finished runs (`run_history`) and of evaluations; they are passed over here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from pydantic import BaseModel, ValidationError

from qairt.files import append_line

LATEST = 10
"""Costs that an expectation rests on, at most."""


class Cost(BaseModel):
    """What one item took."""

    stage: str
    label: str
    key: str
    seconds: float
    peak_rss: int
    bytes: int
    time: float
    host: str = ""
    tools: str = ""
    """Version of the toolchain that made it; empty where none has a part in it."""
    size: int = 0
    """`size_bucket` of the bytes it was thought to write; 0 in records of before this was kept."""
    estimate: float = 0.0
    """Seconds that its stage had thought it would take, without history."""


@dataclass(frozen=True)
class Expectation:
    """What an item is expected to cost."""

    seconds: float
    """The median."""
    low: float
    high: float
    """Half of the earlier runs lie between."""
    peak_rss: int
    """The largest one."""
    bytes: int
    """The latest one."""
    samples: int
    """Earlier runs it rests on, at most ten; with none everything else is 0."""


NOTHING = Expectation(0.0, 0.0, 0.0, 0, 0, 0)


class History:
    """Costs of finished items, the latest last."""

    def __init__(self, state_folder: Path) -> None:
        self._path = state_folder / "history.jsonl"
        self._costs: dict[tuple[str, str], list[Cost]] = {}
        self._of_stage: dict[str, list[Cost]] = {}
        for cost in _read(self._path):
            self._keep(cost)

    def expect(self, stage: str, label: str, *, size: int, tools: str, host: str, estimate: float = 0.0) -> Expectation:
        """What an item like this took when it ran last, from those that are most like it.

        Those of this host count; if there are none, those of any host, then of any toolchain version, then of any size.
        Of another size, times are taken in proportion to what its stage estimates (`estimate`, seconds).
        """
        costs = self._costs.get((stage, label), [])
        for alike in (
            [cost for cost in costs if (cost.size, cost.tools, cost.host) == (size, tools, host)],
            [cost for cost in costs if (cost.size, cost.tools) == (size, tools)],
            [cost for cost in costs if cost.size == size],
        ):
            if alike:
                return _expectation(alike[-LATEST:], [1.0] * LATEST)
        latest = costs[-LATEST:]
        ratios = [estimate / cost.estimate if estimate and cost.estimate else 1.0 for cost in latest]
        return _expectation(latest, ratios)

    def scale(self, stage: str) -> float:
        """By how much the estimates of a stage's items were wrong, 1 where nothing is known: took / estimated."""
        latest = self._of_stage.get(stage, [])[-2 * LATEST :]
        return median(cost.seconds / cost.estimate for cost in latest) if latest else 1.0

    def add(self, cost: Cost) -> None:
        """Keep a cost."""
        self._keep(cost)
        append_line(self._path, cost.model_dump())

    def _keep(self, cost: Cost) -> None:
        self._costs.setdefault((cost.stage, cost.label), []).append(cost)
        if cost.estimate > 0:
            self._of_stage.setdefault(cost.stage, []).append(cost)


def size_bucket(size: int) -> int:
    """The power of two that `size` bytes lie below: 11 for 1024 … 2047; 0 for nothing."""
    return max(size, 0).bit_length()


def _expectation(costs: Sequence[Cost], ratios: Sequence[float]) -> Expectation:
    if not costs:
        return NOTHING
    seconds = [cost.seconds * ratio for cost, ratio in zip(costs, ratios, strict=False)]
    low, middle, high = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    return Expectation(
        seconds=middle,
        low=low,
        high=high,
        peak_rss=max(cost.peak_rss for cost in costs),
        bytes=costs[-1].bytes,
        samples=len(costs),
    )


def _read(path: Path) -> list[Cost]:
    """The costs in a file; lines that are torn or damaged are passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    costs = []
    for line in lines:
        try:
            costs.append(Cost.model_validate_json(line))
        except ValidationError:
            continue
    return costs
