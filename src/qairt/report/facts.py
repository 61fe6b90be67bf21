"""The contents of a report, as plain data. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qairt.engine.record.item_state import ItemStatus
from qairt.engine.record.summary import RunSummary
from qairt.recipe.configs import BASE
from qairt.verify.result import QUANTIZED, LayerCost, ModelFidelity, PartFidelity, TokenFidelity, VectorFidelity

if TYPE_CHECKING:
    from qairt.results.estimate import AtMost


@dataclass(frozen=True)
class StageUsage:
    """Resources that a stage's items took together, in the run that built them."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_ram: int = 0
    """Of the item that took most."""
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(frozen=True)
class StageLine:
    """One stage of the run."""

    name: str
    built: int
    cached: int
    failed: int
    pending: int
    """Waiting, blocked, cancelled or interrupted."""
    usage: StageUsage
    size: int
    """Of its files in the cache, equal contents counted once."""
    on_demand: int = 0
    """Not built, as nothing needs them."""
    earlier: str = ""
    """The run that built it, if it was another one: `run 0003`, or `an earlier run`."""


@dataclass(frozen=True)
class Reason:
    """Why items ran."""

    why: str
    count: int
    stages: Sequence[tuple[str, str]]
    """The items by stage: `("quantize", "ar1-split1, ar1-split2 …")`, `all 8`."""


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
    """The process tree at one time, or the peak of several samples."""

    second: float
    ram: int
    cpu_percent: float
    gpu_memory: int | None = None


@dataclass(frozen=True)
class Timeline:
    """A run that built something."""

    run_id: str
    seconds: float
    cores: int
    lanes: Sequence[Lane]
    moments: Sequence[Moment]
    gpu_total: int | None
    """Memory of the GPUs, if there are any."""
    is_earlier: bool
    """The latest run built nothing; this is the latest one that did."""


@dataclass(frozen=True)
class Size:
    """One form of the model on disk."""

    what: str
    files: int
    bytes: int
    stage: str = ""


@dataclass(frozen=True)
class Score:
    """One metric on the float model and on the targets."""

    title: str
    text: str
    """The data: `12 chunks of dev.txt`."""
    higher_is_better: bool
    float_score: float | None
    scores: Mapping[str, float]
    """By target: quantsim, cpu."""
    concurrency: str = BASE
    """The LoRA adapters that were active, in the float model too."""


@dataclass(frozen=True)
class Fidelity:
    """Results of `verify` on this run's artifacts."""

    parts: Sequence[PartFidelity]
    first_below: PartFidelity | None
    layers: Sequence[LayerCost]
    """Most expensive first."""
    tokens: Mapping[str, int]
    """Tokens of text, by rung."""
    runtimes: Sequence[TokenFidelity] = ()
    """Runtimes that were compared by their tokens."""
    first_differing: TokenFidelity | None = None
    vectors: Sequence[VectorFidelity] = ()
    """Runtimes that were compared by an embedding model's vectors."""
    first_astray: VectorFidelity | None = None
    models: Sequence[ModelFidelity] = ()
    """The whole model of each quantized rung."""
    first_far: ModelFidelity | None = None

    @property
    def is_quantized(self) -> bool:
        """Whether quantized parts were compared, or what a runtime makes of them."""
        return bool(self.runtimes) or bool(self.vectors) or any(part.rung in QUANTIZED for part in self.parts)

    @property
    def verdict(self) -> Literal["good", "warn", "low"]:
        """low: a part is below its threshold, or a runtime makes other tokens or vectors. warn: only the whole is out
        of bounds."""
        if self.first_below or self.first_differing or self.first_astray:
            return "low"
        return "warn" if self.first_far else "good"


@dataclass(frozen=True)
class Speed:
    """Measurements of the float model by `torch_profiler`."""

    rows: Sequence[tuple[str, str]]
    """Name and value of each measurement."""
    warning: str
    operators: Mapping[str, Sequence[tuple[str, float, float]]]
    """For prefill and decode: the most expensive operators, their own milliseconds and share of the total."""
    answers: Sequence[tuple[str, str]]
    """Prompt and answer."""


@dataclass(frozen=True)
class Output:
    """A report that a stage wrote."""

    stage: str
    kind: str
    status: str
    directory: str
    """Relative to the cache directory if it is inside."""
    files: Sequence[str]
    page: Path | None = None
    """The one to open first."""


@dataclass(frozen=True)
class BundleFile:
    """One file that goes to the device."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Failure:
    """An item or output that failed."""

    item: str
    what: str
    remedy: str
    log_tail: Sequence[str]


@dataclass(frozen=True)
class RunReport:
    """The contents of the page."""

    run: RunSummary
    model: str
    recipe_name: str
    recipe_text: str
    recipe_digest: str
    created_at: float
    missing: Sequence[str]
    """What this run lacks and how to get it; one sentence each."""
    notes: Sequence[str]
    """Other remarks for the reader."""
    failures: Sequence[Failure]
    stages: Sequence[StageLine]
    reasons: Sequence[Reason]
    timeline: Timeline | None
    sizes: Sequence[Size]
    fidelity: Fidelity | None
    scores: Sequence[Score]
    speed: Speed | None
    at_most: AtMost | None
    """What the chip could do at best."""
    outputs: Sequence[Output]
    bundle: Sequence[BundleFile]
    tools: Mapping[str, object]
    machine: Sequence[tuple[str, str]]
    """Name and value."""
    sweep: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    """Titles and rows of the latest sweep that this run belongs to."""
    drawn: Sequence[str] = ()
    """Stages whose pictures were drawn for this page."""
