"""What a report says, as plain data. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qairt.engine.record.state import ItemStatus
from qairt.engine.record.summary import RunSummary
from qairt.verify.result import LayerCost, PartFidelity, TokenFidelity


@dataclass(frozen=True)
class StageLine:
    """One stage of the run."""

    name: str
    made: int
    cached: int
    failed: int
    unmade: int
    """Waiting, blocked, cancelled or interrupted."""
    seconds: float
    """Of its items together, in the run that made them; likewise what follows."""
    cpu_seconds: float
    peak_ram: int
    bytes_read: int
    bytes_written: int
    size: int
    """Of its files in the cache, each content once."""
    earlier: str = ""
    """The run that made it, where that was another one: `run 0003`, or `an earlier run`."""


@dataclass(frozen=True)
class Reason:
    """Why items ran."""

    why: str
    count: int
    stages: Sequence[tuple[str, str]]
    """Of each stage, which of its items: `("quantize", "ar1-split1, ar1-split2 …")`, `all 8`."""


@dataclass(frozen=True)
class Lane:
    """When one item ran, in seconds after the run began."""

    stage: str
    label: str
    start: float
    end: float
    status: ItemStatus


@dataclass(frozen=True)
class Moment:
    """The process tree at one time; several looks put together show the greatest."""

    second: float
    ram: int
    cpu_percent: float
    gpu_memory: int | None = None


@dataclass(frozen=True)
class Timeline:
    """A run that made something."""

    run_id: str
    seconds: float
    cores: int
    lanes: Sequence[Lane]
    moments: Sequence[Moment]
    gpu_total: int | None
    """Bytes that the GPUs have, where one was seen."""
    is_earlier: bool
    """The latest run made nothing; this is the latest one that did."""


@dataclass(frozen=True)
class Size:
    """One form of the model on the disk."""

    what: str
    files: int
    bytes: int
    stage: str = ""


@dataclass(frozen=True)
class Score:
    """One metric on the model and its targets."""

    title: str
    text: str
    """What it rests on: `12 chunks of dev.txt`."""
    higher_is_better: bool
    float_score: float | None
    scores: Mapping[str, float]
    """By target: quantsim, cpu."""


@dataclass(frozen=True)
class Fidelity:
    """What `verify` found of the artifacts of this run."""

    parts: Sequence[PartFidelity]
    first_below: PartFidelity | None
    layers: Sequence[LayerCost]
    """The dearest first."""
    tokens: Mapping[str, int]
    """By rung."""
    runtimes: Sequence[TokenFidelity] = ()
    """Runtimes that were compared by what they say."""
    first_differing: TokenFidelity | None = None


@dataclass(frozen=True)
class Speed:
    """What `torch_profiler` found of the float model."""

    rows: Sequence[tuple[str, str]]
    """What was measured, and its value."""
    warning: str
    operators: Mapping[str, Sequence[tuple[str, float, float]]]
    """Of prefill and decode: the dearest operators, their own milliseconds and share of the whole."""
    answers: Sequence[tuple[str, str]]
    """Prompt, and what the model said."""


@dataclass(frozen=True)
class Output:
    """What a stage left for people to read."""

    stage: str
    kind: str
    status: str
    directory: str
    """Below the cache directory where it lies there."""
    files: Sequence[str]


@dataclass(frozen=True)
class BundleFile:
    """One file that goes to the device."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Failure:
    """An item that could not be made."""

    item: str
    what: str
    remedy: str
    log_tail: Sequence[str]


@dataclass(frozen=True)
class Report:
    """Everything that one page says."""

    run: RunSummary
    model: str
    recipe_name: str
    recipe_text: str
    recipe_digest: str
    made_at: float
    missing: Sequence[str]
    """What a finished run would have and this one has not, and how to get it; a sentence each."""
    notes: Sequence[str]
    """What else the reader should know."""
    failures: Sequence[Failure]
    stages: Sequence[StageLine]
    reasons: Sequence[Reason]
    timeline: Timeline | None
    sizes: Sequence[Size]
    fidelity: Fidelity | None
    scores: Sequence[Score]
    speed: Speed | None
    outputs: Sequence[Output]
    bundle: Sequence[BundleFile]
    tools: Mapping[str, Any]
    machine: Sequence[tuple[str, str]]
    """Name and value."""
