"""The stage contract: expand describes the work, the engine does every piece the same way, reduce folds it back.

Five nouns: `Coord` (where in the fan-out), `Item` (a handle on one artifact), `Task` (makes exactly one item),
`StageOutput` (a pydantic model whose `Path` fields are its files), `Stage`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from qairt.engine.axes import Coord, label, without
from qairt.engine.digests import FileDigests
from qairt.errors import ContractViolation
from qairt.recipe.output_settings import ModelOutput, OutputSettings


class PipelinePerformanceWarning(UserWarning):
    """A legal but slow configuration; silenced by `suppress_performance_warnings`."""


class Override(BaseModel):
    """One entry of a stage's `overrides`: where the coordinate matches, these settings apply instead."""

    model_config = ConfigDict(extra="forbid")

    where: dict[str, int]
    set: dict[str, Any]


class StageConfig(BaseModel):
    """Settings of a stage; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    not_in_key: ClassVar[frozenset[str]] = frozenset({"overrides", "output"})
    """Fields that do not change what an item holds: those that list axis values, and what is left for people."""

    output: OutputSettings = Field(default_factory=OutputSettings)
    """What it leaves for people to read, and where; changing it runs no item again."""
    overrides: list[Override] = Field(default_factory=list)
    """Settings that differ by coordinate: `[{where: {split: 5}, set: {act_bitwidth: 8}}]`."""

    @field_validator("overrides")
    @classmethod
    def _by_coordinate(cls, overrides: list[Override]) -> list[Override]:
        for name in ("output", "overrides"):
            if any(name in override.set for override in overrides):
                raise ValueError(f"{name} is of the whole stage: it cannot differ by coordinate")
        return overrides

    def at(self, coord: Coord) -> Self:
        """The settings that hold at `coord`."""
        place = dict(coord)
        changes: dict[str, Any] = {}
        for override in self.overrides:
            if all(place.get(axis) == value for axis, value in override.where.items()):
                changes |= override.set
        if not changes:
            return self
        kept = {name: getattr(self, name) for name in self.model_fields_set if name != "overrides"}
        return type(self).model_validate(kept | changes)

    def key_fields(self) -> dict[str, JsonValue]:
        """What of these settings is part of a cache key."""
        return self.model_dump(mode="json", exclude=set(self.not_in_key))


class StageInput(BaseModel):
    """What a stage takes; each field is filled by name from the nearest upstream output that has it."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True)
class Artifact:
    """Marks a `Path` field of an output as something `plan` counts: `Annotated[Path, Artifact("DLC")]`."""

    kind: str


class StageOutput(BaseModel):
    """What a stage gives. `Path` fields are its files: absolute in memory, relative to the item's folder on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def artifact_kinds(cls) -> Counter[str]:
        """How many files of each counted kind one item holds."""
        kinds: Counter[str] = Counter()
        for info in cls.model_fields.values():
            for mark in info.metadata:
                if isinstance(mark, Artifact):
                    kinds[mark.kind] += 1
        return kinds

    def paths(self) -> Iterator[Path]:
        """Every file and folder this output names."""
        for name in type(self).model_fields:
            yield from _paths_in(getattr(self, name))

    def moved(self, old: Path, new: Path) -> Self:
        """The same output after its folder moved from `old` to `new`."""
        values = {name: _move(getattr(self, name), old, new) for name in type(self).model_fields}
        return type(self).model_validate(values)


ConfigT = TypeVar("ConfigT", bound=StageConfig)
InT = TypeVar("InT", bound=StageInput)
OutT = TypeVar("OutT", bound=StageOutput)


class Estimate(BaseModel):
    """What an item is expected to cost before it ran once; history replaces it afterwards."""

    bytes: int = 0
    seconds: float = 1.0
    peak_ram: int = 400_000_000
    """Bytes."""
    threads: int = 1
    """Cores it can make use of."""
    alone: bool = False
    """Nothing else runs meanwhile: it measures."""


class Task(BaseModel):
    """The description of one item; plain data, so that it can run in another process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coord: Coord
    sources: tuple[Coord, ...]
    """Coordinates in the batch this stage was given; empty for the first stage."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """What to do, as far as the coordinate and the config do not say it; part of the key."""
    paths: dict[str, Path] = Field(default_factory=dict)
    """Files outside the cache that it reads; not in the key, for their content is (`cache_key_extras`)."""
    environment: dict[str, JsonValue] = Field(default_factory=dict)
    """Where it is done, such as the device; not in the key, for it is not what is done."""
    estimate: Estimate = Field(default_factory=Estimate)


@dataclass(frozen=True)
class Expansion:
    """The tasks of a stage, and a token that `reduce` gets back."""

    tasks: Sequence[Task]
    token: Any = None


@dataclass(frozen=True)
class Item:
    """A handle on one artifact: made (`output` is set) or only planned."""

    stage: str
    coord: Coord
    key: str
    directory: Path | None = None
    output: StageOutput | None = None

    @property
    def label(self) -> str:
        return label(self.coord)


Batch = Mapping[Coord, Item]


@dataclass
class Env:
    """What stages may know while they describe their work: the recipe's settings, never an artifact's content."""

    settings: Any
    configs: Mapping[str, StageConfig]
    digests: FileDigests
    suppress_performance_warnings: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    files_read: dict[str, set[Path]] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """A fact that several stages ask for, found out once (the model's shape, say)."""
        if name not in self.facts:
            self.facts[name] = make()
        return self.facts[name]

    def digest(self, stage: str, path: Path) -> str:
        """SHA-256 of a file that `stage` reads; checked again after its items ran."""
        self.files_read.setdefault(stage, set()).add(path)
        return self.digests.digest(path)


@dataclass
class Context(Generic[ConfigT, InT]):
    """What `Stage.run` sees besides its task."""

    config: ConfigT
    inputs: Mapping[Coord, InT]
    """One for each source of the task."""
    directory: Path
    """Empty; everything written here is the item. It becomes visible only as a whole."""
    resume: Path
    """A folder for what a long item has done so far, to go on from when an attempt is killed; it may not exist yet. The
    stage checks what it finds there. Removed when the item is made."""
    threads: int
    progress: Callable[[float, str], None]
    """`progress(fraction in 0…1, what is being done)`."""

    @property
    def input(self) -> InT:
        """The only input of a task with one source."""
        (only,) = self.inputs.values()
        return only


@dataclass(frozen=True)
class OutputPlace:
    """What a stage sees when it writes something for people to read."""

    directory: Path
    """Empty; what is written here goes to `save_dir`, each file whole."""
    model: ModelOutput
    """`extra` of the model that runs."""
    env: Env
    predictions: Path | None
    """The folder of this stage's predictions; None where none are asked for."""
    progress: Callable[[float, str], None]
    """`progress(fraction in 0…1, what is being done)`; raises when the run is to end."""


class Stage(ABC, Generic[ConfigT, InT, OutT]):
    """One step from a recipe to a device. Subclasses name their config, input and output types in the bases:

    `class Convert(Stage[ConvertConfig, PartInput, FloatDlc])`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised by hand when the output changes for the same input."""
    axis_name: ClassVar[str | None] = None
    """The axis it opens."""
    merges: ClassVar[tuple[str, ...]] = ()
    """The axes it closes; one that is not open is passed over."""
    stateful: ClassVar[bool] = False
    """Nothing from here on is reused from the cache."""
    computed_from: ClassVar[Mapping[str, str]] = {}
    """Of a task's parameters those that hold a setting's value: `{"part.of": "stages.split_model.num_splits"}`. When it
    differs, the setting is named as the reason, and other parameters of the same group are its consequences."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Stages that must stand somewhere before it."""
    aside: ClassVar[bool] = False
    """Nothing is made from its items: the stages after it take what stood before it, and so do their keys."""
    output_version: ClassVar[int] = 1
    """Raised by hand when it writes other predictions or pictures of the same items."""

    config_type: ClassVar[type[StageConfig]]
    input_type: ClassVar[type[StageInput]]
    output_type: ClassVar[type[StageOutput]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            if getattr(base, "__origin__", None) is Stage:
                cls.config_type, cls.input_type, cls.output_type = get_args(base)

    def __init__(self, config: ConfigT | None = None) -> None:
        self.config: ConfigT = config if config is not None else self.config_type()  # type: ignore[assignment]

    # Describing the work

    def axes(self, env: Env) -> tuple[str, ...]:
        """The axes it opens with these settings."""
        return (self.axis_name,) if self.axis_name else ()

    def labels(self, coord: Coord, env: Env) -> Sequence[int]:
        """The values of the axis it opens, at `coord`."""
        return ()

    def applies_to(self, coord: Coord) -> bool:
        """False: the item passes through untouched."""
        return True

    @abstractmethod
    def expand(self, batch: Batch, env: Env) -> Expansion:
        """One task per item. In the engine's process; reads no weights, starts no compiler."""

    def dry_expand(self, batch: Batch, env: Env) -> Expansion:
        """The same for `plan`. Override only where `expand` must look at an artifact; the shape must be the same."""
        return self.expand(batch, env)

    def artifact_kinds(self, env: Env) -> Counter[str]:
        """Counted files of one item."""
        return self.output_type.artifact_kinds()

    def cache_key_extras(self, env: Env) -> tuple[tuple[str, Any], ...]:
        """Hashable `(name, value)` facts its output depends on besides settings and upstream."""
        return ()

    def introspect(self, batch: Batch, env: Env, token: Any) -> dict[str, Any]:
        """What `plan` prints for it besides the counts; a failure here never breaks the plan."""
        return {}

    def validate(self, before: Sequence[Stage[Any, Any, Any]], after: Sequence[Stage[Any, Any, Any]]) -> None:
        """Its place in the pipeline is right.

        Raises:
            ContractViolation: a stage it builds on does not stand before it.
        """
        earlier = {stage.name for stage in before}
        for needed in self.requires:
            if needed not in earlier:
                later = any(stage.name == needed for stage in after)
                problem = f"{needed} must come before it, and comes after" if later else f"it needs {needed} before it"
                raise ContractViolation(problem, where=f"stages.{self.name}", remedy=f"put {needed} before {self.name}")

    def check(self, env: Env) -> None:
        """What can be known before work starts: limits of the target, files that must exist. Raises a QairtError."""

    def check_tools(self, env: Env) -> None:
        """What must be installed to run its items, where a plan can be made without it. Raises a QairtError."""

    # Doing it

    @abstractmethod
    def run(self, task: Task, context: Context[ConfigT, InT]) -> OutT:
        """Make one item in `context.directory`. May run in another process: it sees nothing but its arguments."""

    # Folding back

    def reduce(self, results: Mapping[Coord, Any], env: Env, token: Any) -> dict[Coord, Any]:
        """Fold results over the axes this stage opened: `{whole coordinate: {opened coordinate: result}}`.

        A stage that opens no axis gives the results back as they are.
        """
        opened = self.axes(env)
        if not opened:
            return dict(results)
        folded: dict[Coord, dict[Coord, Any]] = {}
        for coord, result in results.items():
            outer = without(coord, opened)
            inner = tuple(pair for pair in coord if pair[0] in opened)
            folded.setdefault(outer, {})[inner] = result
        return dict(folded)

    # To disk and back

    def export(self, output: OutT, path: Path) -> None:
        """Write `output` into the folder `path`: its files are linked (or copied), its fields go to `output.json`."""
        from qairt.files import link_or_copy

        path.mkdir(parents=True, exist_ok=True)
        root = _common_folder(list(output.paths()))
        for source in output.paths():
            target = path / source.relative_to(root)
            if source != target:
                link_or_copy(source, target)
        write_output(output.moved(root, path), path)

    @classmethod
    def load_from_cache(cls, path: Path, **_: Any) -> OutT:
        """The output that `export` wrote into `path`."""
        return read_output(cls.output_type, path)  # type: ignore[return-value]

    # For people: on a hit as on a run, outside the key

    def publish(self, items: Batch, directory: Path) -> None:
        """Its result under a plain name, `{cache_dir}/{stage}`."""

    def write_predictions(self, items: Batch, place: OutputPlace) -> None:
        """What the model says at this stage. Override it in a stage that has something to say."""

    def write_visualization(self, items: Batch, place: OutputPlace) -> None:
        """Pictures (`.svg`, `.png`) and pages of its finished items. Override it in a stage that has some to show."""


OUTPUT_FILE = "output.json"


def write_output(output: StageOutput, directory: Path) -> None:
    """Write the fields of `output` into `directory`, paths relative to it."""
    relative = output.moved(directory, Path())
    (directory / OUTPUT_FILE).write_text(relative.model_dump_json(indent=1) + "\n")


def read_output(output_type: type[OutT], directory: Path) -> OutT:
    """The inverse of `write_output`."""
    output = output_type.model_validate_json((directory / OUTPUT_FILE).read_bytes())
    return output.moved(Path(), directory)


def _paths_in(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _paths_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _paths_in(part)


def _move(value: Any, old: Path, new: Path) -> Any:
    if isinstance(value, Path):
        if old == Path():
            return value if value.is_absolute() else new / value
        return new / value.relative_to(old) if value.is_relative_to(old) else value
    if isinstance(value, Mapping):
        return {key: _move(part, old, new) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_move(part, old, new) for part in value)
    return value


def _common_folder(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()


_registry: dict[str, type[Stage[Any, Any, Any]]] = {}

StageT = TypeVar("StageT", bound=type[Stage[Any, Any, Any]])


def register_stage(stage: StageT) -> StageT:
    """Class decorator: make a stage usable in a recipe by its name."""
    known = _registry.get(stage.name)
    if known is not None and (known.__module__, known.__qualname__) != (stage.__module__, stage.__qualname__):
        raise ContractViolation(
            f"two stages are called {stage.name}: {known.__module__} and {stage.__module__}", where=stage.__qualname__
        )
    _registry[stage.name] = stage
    return stage


def registered_stages() -> dict[str, type[Stage[Any, Any, Any]]]:
    """All registered stages, by name."""
    return dict(_registry)
