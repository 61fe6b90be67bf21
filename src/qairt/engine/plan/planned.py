"""What a plan holds, as data: items, stages, outputs, and why an item runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qairt import keys
from qairt.engine.axes import Coord, label
from qairt.engine.cache.entry import Entry
from qairt.engine.plan.costs import size_bucket
from qairt.engine.stage import AnyStage, Expansion, StageConfig, Task
from qairt.recipe.output_settings import ModelOutput, OutputKind

Kind = Literal["setting", "parameter", "file", "toolchain", "version", "input", "new", "removed", "forced", "never"]


@dataclass(frozen=True)
class Leaf:
    """One value that went into a key, then and now."""

    kind: Kind
    """setting: of the stage; parameter: what the stage made of settings; file and toolchain: what it found."""
    field: str
    """Dotted: `stages.fan.suffix` for a setting, else `<stage>.<name>`."""
    cached: Any
    now: Any

    @property
    def text(self) -> str:
        return f"{self.field} {short(self.cached)} → {short(self.now)}"


@dataclass(frozen=True)
class Cause:
    """Where the reason begins."""

    kind: Kind
    item: str
    """The item that it begins at, as `stage label`."""
    leaves: tuple[Leaf, ...] = ()
    note: str = ""
    """In words, where no value differs."""

    @property
    def text(self) -> str:
        if not self.leaves:
            return self.note
        more = f" (and {len(self.leaves) - 1} more)" if len(self.leaves) > 1 else ""
        return f"{self.leaves[0].text}{more}"


def short(value: Any) -> str:
    """A value in few characters; of a digest its beginning."""
    text = value if isinstance(value, str) else keys.canonical(value)
    if len(text) == 64 and all(char in "0123456789abcdef" for char in text):
        return text[:8]
    return text if len(text) <= 60 else text[:57] + "…"


@dataclass(frozen=True)
class PlannedOutput:
    """The predictions of a stage, or its pictures."""

    stage: AnyStage
    kind: OutputKind
    directory: Path
    model: ModelOutput
    items: tuple[PlannedItem, ...]
    inputs: dict[str, Any]
    """All that it depends on."""
    reason: str
    """Why it is written; empty when what is there is current."""
    predictions: Path | None = None
    """Where this stage's predictions are; None where none are asked for."""

    @property
    def name(self) -> str:
        return f"{self.stage.name} {self.kind}"

    @property
    def current(self) -> bool:
        return not self.reason

    def as_dict(self) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "kind": self.kind,
            "directory": str(self.directory),
            "status": "current" if self.current else "write",
            "reason": self.reason,
        }


@dataclass
class PlannedItem:
    """One item that a run makes or reuses."""

    stage: AnyStage
    coord: Coord
    task: Task
    config: StageConfig
    sources: list[PlannedItem]
    key: str
    inputs: dict[str, Any]
    """What the key was made from."""
    entry: Entry | None
    """The cache entry, when it is reused."""
    last: Entry | None
    """What was made last at this place, of whatever."""
    reason: str
    """Why it runs; empty when it is cached."""
    cause: Cause | None
    """Where that reason begins."""
    seconds: float
    peak_ram: int
    bytes: int
    from_history: bool
    low: float = 0.0
    high: float = 0.0
    """Half of its earlier runs took between these; both 0 where it never ran."""
    samples: int = 0
    """Earlier runs that `seconds` rests on."""
    tools: str = ""
    """Version of the toolchain that makes it; empty where none does."""

    @property
    def size(self) -> int:
        """`size_bucket` of the bytes that its stage thinks it writes."""
        return size_bucket(self.task.estimate.bytes)

    @property
    def label(self) -> str:
        return label(self.coord)

    @property
    def name(self) -> str:
        return f"{self.stage.name} {self.label}"

    @property
    def cached(self) -> bool:
        return self.entry is not None

    @property
    def stale(self) -> bool:
        """It was made before, and runs again."""
        return self.entry is None and self.last is not None


@dataclass
class StagePlan:
    """One stage of the plan."""

    stage: AnyStage
    items: list[PlannedItem]
    batch: dict[Coord, PlannedItem]
    """What goes on to the next stage: its own items, and those that passed through."""
    expansion: Expansion
    artifacts: Counter[str]
    details: Mapping[str, object]
    described: bool
    """False: the stage must look at artifacts that do not exist yet, and this is its analytic answer."""


@dataclass
class Plan:
    """All stages in order."""

    stages: list[StagePlan] = field(default_factory=list)
    outputs: list[PlannedOutput] = field(default_factory=list)
    """What stages leave for people."""
    known: dict[str, Entry] = field(default_factory=dict)
    """Every entry of the cache by its key, whether this plan reuses it or not."""

    @property
    def items(self) -> Iterator[PlannedItem]:
        for stage in self.stages:
            yield from stage.items

    def to_run(self) -> list[PlannedItem]:
        return [item for item in self.items if not item.cached]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`: per stage the artifact counts, per item its cost and reason."""
        return {
            "stages": [
                {
                    "name": planned.stage.name,
                    "artifacts": dict(planned.artifacts),
                    "items": [_item_as_dict(item) for item in planned.items],
                    **({"details": planned.details} if planned.details else {}),
                }
                for planned in self.stages
            ],
            "outputs": [output.as_dict() for output in self.outputs],
            "items": sum(1 for _ in self.items),
            "to_run": len(self.to_run()),
            "seconds": round(sum(item.seconds for item in self.to_run()), 1),
            "bytes": sum(item.bytes for item in self.to_run()),
            "peak_ram": max((item.peak_ram for item in self.to_run()), default=0),
        }


def _item_as_dict(item: PlannedItem) -> dict[str, Any]:
    return {
        "label": item.label,
        "key": item.key,
        "status": "cached" if item.cached else "run",
        "reason": item.reason,
        "seconds": round(item.seconds, 2),
        "from_history": item.from_history,
        "peak_ram": item.peak_ram,
        "bytes": item.bytes,
    }
