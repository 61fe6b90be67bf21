"""Work as data: the tasks that a stage expands into, and items, the handles on their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from qairt.engine.artifact import StageOutput
from qairt.engine.axes import Coord, label


class Estimate(BaseModel):
    """What an item is expected to cost before its first run; afterwards history replaces it."""

    bytes: int = 0
    seconds: float = 1.0
    peak_ram: int = 400_000_000
    """Bytes."""
    threads: int = 1
    """Cores it can use."""
    alone: bool = False
    """Nothing else may run meanwhile, because it measures."""


class Task(BaseModel):
    """The description of one item; plain data, so that it can run in another process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coord: Coord
    name: str = ""
    """What its item is called in place of its coordinate. Not in the key."""
    sources: tuple[Coord, ...]
    """Coordinates in the stage's batch; empty for the first stage."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """What the coordinate and the settings do not say; part of the key."""
    interchangeable: tuple[str, ...] = ()
    """Names in `params`: a finished item that differs in these alone is used as it is, unless its stage is forced."""
    paths: dict[str, Path] = Field(default_factory=dict)
    """Files outside the cache that it reads. Not in the key: their content is (`cache_key_extras`)."""
    environment: dict[str, JsonValue] = Field(default_factory=dict)
    """Where it runs, such as the device. Not in the key: it does not change the result."""
    estimate: Estimate = Field(default_factory=Estimate)
    shares: str = ""
    """Items of a stage that share a large file have the same one; the estimate of the first of them counts the file.
    Not in the key."""

    @property
    def label(self) -> str:
        return self.name or label(self.coord)


@dataclass(frozen=True)
class Expansion:
    """The tasks of a stage, and a token that `reduce` gets back."""

    tasks: Sequence[Task]
    token: object = None


@dataclass(frozen=True)
class Item:
    """A handle on one artifact: finished (`output` is set) or only planned."""

    stage: str
    coord: Coord
    key: str
    directory: Path | None = None
    output: StageOutput | None = None

    @property
    def label(self) -> str:
        return label(self.coord)


Batch = Mapping[Coord, Item]
