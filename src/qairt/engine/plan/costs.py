"""What items cost in earlier runs, and what they are expected to cost in the next one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from pydantic import BaseModel, ValidationError

from qairt.engine.record.history_file import HistoryFile

LATEST = 10
"""How many earlier runs an expectation is based on, at most."""


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
    """Version of the toolchain that made it; empty if none was used."""
    size: int = 0
    """`size_bucket` of the bytes it was expected to write; 0 in old records."""
    estimate: float = 0.0
    """Seconds its stage estimated, without history."""
    out_of_memory: bool = False
    """It was not finished: memory ran out when it used `peak_rss`."""


@dataclass(frozen=True)
class Expectation:
    """What an item is expected to cost."""

    seconds: float
    """The median."""
    low: float
    high: float
    """Half of the earlier runs took between `low` and `high`; both 0 without any."""
    peak_rss: int
    """The largest one."""
    bytes: int
    """The latest one."""
    samples: int
    """Earlier runs it is based on, at most ten; 0 for an estimate."""


NOTHING = Expectation(0.0, 0.0, 0.0, 0, 0, 0)


class CostHistory:
    """Costs of finished items, the latest last."""

    def __init__(self, state_folder: Path) -> None:
        self._file = HistoryFile(state_folder)
        self._costs: dict[tuple[str, str], list[Cost]] = {}
        self._of_stage: dict[str, list[Cost]] = {}
        self._not_enough: dict[tuple[str, str], int] = {}
        for line in self._file.read("cost"):
            with suppress(ValidationError):
                self._keep(Cost.model_validate(line))

    def expect(self, stage: str, label: str, *, size: int, tools: str, host: str, estimate: float = 0.0) -> Expectation:
        """What an item is expected to cost, from the earlier runs that are most like it.

        Runs on the same host count first; without any, those of any host, then of any toolchain version, then of any
        size. For another size, times scale with the stage's own estimate (`estimate`, seconds).
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

    def scale(self, stage: str) -> float | None:
        """Actual over estimated seconds of a stage's items, the median; None if none has run."""
        latest = self._of_stage.get(stage, [])[-2 * LATEST :]
        return median(cost.seconds / cost.estimate for cost in latest) if latest else None

    def not_enough(self, stage: str, label: str) -> int:
        """Bytes of memory that an item used when memory ran out, the most; 0 where that never happened."""
        return self._not_enough.get((stage, label), 0)

    def add(self, cost: Cost) -> None:
        """Record a cost."""
        self._keep(cost)
        self._file.append(cost.model_dump())

    def _keep(self, cost: Cost) -> None:
        item = (cost.stage, cost.label)
        if cost.out_of_memory:
            self._not_enough[item] = max(cost.peak_rss, self._not_enough.get(item, 0))
            return
        self._costs.setdefault(item, []).append(cost)
        if cost.estimate > 0:
            self._of_stage.setdefault(cost.stage, []).append(cost)


def size_bucket(size: int) -> int:
    """The number of bits of `size` in bytes: 11 for 1024 … 2047, 0 for 0."""
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
