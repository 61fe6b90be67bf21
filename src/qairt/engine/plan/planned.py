"""A plan as data: items, stages, outputs, and why an item runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from qairt import amounts, keys
from qairt.engine.axes import Coord, label
from qairt.engine.cache.entry import Entry, mapping_in
from qairt.engine.plan.costs import Expectation, size_bucket
from qairt.engine.shared_store.stored import StoredEntry
from qairt.engine.stage import AnyStage, Expansion, StageConfig, Task
from qairt.recipe.output_settings import ModelOutput, OutputKind
from qairt.recipe.settings import Keep

FETCH_RAM = 60_000_000
"""Bytes that fetching an item takes, whatever its size."""

Kind = Literal[
    "setting",
    "parameter",
    "file",
    "toolchain",
    "facet",
    "library",
    "version",
    "input",
    "new",
    "removed",
    "released",
    "forced",
    "never",
]


@dataclass(frozen=True)
class Leaf:
    """One value that entered a key, then and now."""

    kind: Kind
    """setting: of the stage; parameter: derived by the stage; file and toolchain: found by the stage; facet: of an
    earlier stage's result; library: a package it computes with."""
    field: str
    """Dotted: `stages.fan.suffix` for a setting, else `<stage>.<name>`; of a facet and a library, its name."""
    cached: object
    now: object

    @property
    def text(self) -> str:
        if self.kind == "facet":
            return f"the {self.field} changed"
        return f"{self.field} {short(self.cached)} → {short(self.now)}"


@dataclass(frozen=True)
class Cause:
    """The root cause of a rebuild."""

    kind: Kind
    item: str
    """The item it belongs to, as `stage label`."""
    leaves: tuple[Leaf, ...] = ()
    note: str = ""
    """A description, if no value differs."""

    @property
    def text(self) -> str:
        if not self.leaves:
            return self.note
        more = f" (and {len(self.leaves) - 1} more)" if len(self.leaves) > 1 else ""
        return f"{self.leaves[0].text}{more}"


def short(value: object) -> str:
    """A value in few characters; a digest by its first eight."""
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
    inputs: dict[str, JsonValue]
    """Everything it depends on."""
    reason: str
    """Why it is written; empty if it is up to date."""
    predictions: Path | None = None
    """The folder of this stage's predictions; None if none were requested."""

    @property
    def name(self) -> str:
        return f"{self.stage.name} {self.kind}"

    @property
    def current(self) -> bool:
        return not self.reason

    def as_dict(self) -> dict[str, JsonValue]:
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
    task: Task
    config: StageConfig
    sources: list[PlannedItem]
    key: str
    inputs: dict[str, JsonValue]
    """Everything that entered the key."""
    entry: Entry | None
    """The cache entry, if it is reused."""
    last: Entry | None
    """The newest entry of this item, under whatever key."""
    expected: Expectation
    bytes: int
    """Stored for it, or expected to be."""
    tools: str = ""
    """Version of the toolchain that makes it; empty if none does."""
    reason: str = ""
    """Why it runs; empty if it is cached."""
    cause: Cause | None = None
    """The root of that reason."""
    cleared: float | None = None
    """When its result was cleared, which undo can bring back."""
    on_demand: bool = False
    """It is not here, and nobody needs it: see `qairt.engine.plan.demand`."""
    released: Entry | None = None
    """Its entry, if it is rebuilt because files of it were let go."""
    outdated: bool = False
    """Its result was made from one that has been replaced, or will be."""
    stored: StoredEntry | None = None
    """Its entry in the shared store, if it is fetched instead of built."""
    fetch_seconds: float = 0.0
    """Expected, where it is fetched."""

    @cached_property
    def upstream(self) -> list[PlannedItem]:
        """Everything it is made from, each once. Its stage may read fields of any of them."""
        found = {id(source): source for source in self.sources}
        for source in self.sources:
            found |= {id(above): above for above in source.upstream}
        return list(found.values())

    @property
    def waits_for(self) -> list[PlannedItem]:
        """Its sources, and in place of one that nobody needs, what that one would be made from; each once."""
        nearest = (source.waits_for if source.on_demand else [source] for source in self.sources)
        return list({id(item): item for items in nearest for item in items}.values())

    @cached_property
    def never_reused(self) -> bool:
        """Its stage, or one before it, is rebuilt in every run."""
        return self.stage.stateful or any(source.never_reused for source in self.sources)

    @property
    def coord(self) -> Coord:
        return self.task.coord

    @property
    def chained(self) -> list[PlannedItem]:
        """The sources whose keys are part of its own."""
        named = mapping_in(self.inputs, "extras", "sources")
        return [source for source in self.sources if source.place in named]

    @property
    def seconds(self) -> float:
        """Expected: of fetching it where the shared store has it, else of building it."""
        return self.expected.seconds if self.stored is None else self.fetch_seconds

    @property
    def peak_ram(self) -> int:
        """Bytes, expected."""
        return self.expected.peak_rss if self.stored is None else FETCH_RAM

    @property
    def why(self) -> str:
        """What is done and why: `in the store: 1.24 GB to fetch, about 20 s; building takes about 3 min 20 s`."""
        if self.stored is None:
            return self.reason
        fetch = f"in the store: {amounts.size(self.bytes)} to fetch, about {amounts.about(self.fetch_seconds)}"
        return f"{fetch}; building takes about {amounts.about(self.expected.seconds)}"

    @property
    def from_history(self) -> bool:
        """Whether earlier runs of this item say what it costs."""
        return self.stored is None and self.expected.samples > 0

    @property
    def size(self) -> int:
        """`size_bucket` of the bytes that its stage expects to write."""
        return size_bucket(self.task.estimate.bytes)

    @property
    def label(self) -> str:
        return self.task.label

    @cached_property
    def place(self) -> str:
        """Stage and coordinate, as keys name it."""
        return f"{self.stage.name} {label(self.coord)}"

    @cached_property
    def name(self) -> str:
        return f"{self.stage.name} {self.label}"

    @property
    def cached(self) -> bool:
        return self.entry is not None

    @property
    def runs(self) -> bool:
        """Whether a run makes it, or fetches it from the shared store."""
        return self.entry is None and not self.on_demand

    @property
    def record(self) -> Entry | None:
        """What is known of its result, here or let go."""
        return self.entry or self.released

    @property
    def stale(self) -> bool:
        """It was made before and is rebuilt."""
        lost = self.cause is not None and self.cause.kind == "removed" and self.cause.item == self.name
        return self.runs and (self.last is not None or lost)


@dataclass
class StagePlan:
    """One stage of the plan."""

    stage: AnyStage
    items: list[PlannedItem]
    batch: dict[Coord, PlannedItem]
    """The input of the next stage: its own items, and those that passed through."""
    expansion: Expansion
    artifacts: Counter[str]
    details: Mapping[str, object]
    described: bool
    """False: the stage must read artifacts that do not exist yet, and this is its analytic description."""


@dataclass
class Plan:
    """All stages in order."""

    stages: list[StagePlan] = field(default_factory=list)
    outputs: list[PlannedOutput] = field(default_factory=list)
    """Predictions and pictures."""
    known: dict[str, Entry] = field(default_factory=dict)
    """Every entry of the cache by key, reused by this plan or not."""
    kept: Mapping[str, Keep] = field(default_factory=dict)
    """What each stage keeps, by name."""

    @property
    def items(self) -> Iterator[PlannedItem]:
        for stage in self.stages:
            yield from stage.items

    def to_run(self) -> list[PlannedItem]:
        """Items that are not here and needed: built, or fetched from the shared store."""
        return [item for item in self.items if item.runs]

    def to_fetch(self) -> list[PlannedItem]:
        """Those of them that the shared store has."""
        return [item for item in self.to_run() if item.stored is not None]

    def as_dict(self) -> dict[str, object]:
        """Plain data for `--json`: per stage the artifact counts, per item its cost and reason."""
        return {
            "stages": [
                {
                    "name": planned.stage.name,
                    "artifacts": dict(planned.artifacts),
                    "keep": self.kept.get(planned.stage.name, "all"),
                    "items": [_item_as_dict(item) for item in planned.items],
                    **({"details": planned.details} if planned.details else {}),
                }
                for planned in self.stages
            ],
            "outputs": [output.as_dict() for output in self.outputs],
            "items": sum(1 for _ in self.items),
            "to_run": len(self.to_run()) - len(self.to_fetch()),
            "to_fetch": len(self.to_fetch()),
            "fetch_bytes": sum(item.bytes for item in self.to_fetch()),
            "seconds": round(sum(item.seconds for item in self.to_run()), 1),
            "bytes": sum(item.bytes for item in self.to_run()),
            "peak_ram": max((item.peak_ram for item in self.to_run()), default=0),
        }


def _status(item: PlannedItem) -> str:
    if item.entry is not None:
        return "cached" if item.entry.is_whole else "released"
    return "on demand" if item.on_demand else "stored" if item.stored is not None else "run"


def _item_as_dict(item: PlannedItem) -> dict[str, JsonValue]:
    return {
        "label": item.label,
        "key": item.key,
        "status": _status(item),
        "reason": item.why,
        "seconds": round(item.seconds, 2),
        "from_history": item.from_history,
        "peak_ram": item.peak_ram,
        "bytes": item.bytes,
    }
