"""The stage contract: `expand` describes the work, the engine runs every item the same way, `reduce` folds the results.

Five nouns: `Coord` (where in the fan-out), `Item` (a handle on one artifact), `Task` (makes exactly one item),
`StageOutput` (a pydantic model whose `Path` fields are its files), `Stage`. A stage's module needs no other import from
the engine than this one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

from qairt.engine.artifact import (
    Artifact,
    OutT,
    StageInput,
    StageOutput,
    export_output,
    read_output,
    write_output,
)
from qairt.engine.axes import Coord, without
from qairt.engine.digests import Content
from qairt.engine.env import Env
from qairt.engine.stage_config import Override, StageConfig
from qairt.engine.task import Batch, Estimate, Expansion, Item, Task
from qairt.errors import ContractViolation
from qairt.recipe.output_settings import ModelOutput

__all__ = [
    "AnyStage",
    "Artifact",
    "Batch",
    "Content",
    "Context",
    "Coord",
    "Env",
    "Estimate",
    "Expansion",
    "Item",
    "KeyFacts",
    "OutputContext",
    "Override",
    "PipelinePerformanceWarning",
    "Progress",
    "Stage",
    "StageConfig",
    "StageInput",
    "StageOutput",
    "Task",
    "read_output",
    "register_stage",
    "registered_stages",
    "write_output",
]

ConfigT = TypeVar("ConfigT", bound=StageConfig)
InT = TypeVar("InT", bound=StageInput)

Worth = Literal["intermediate", "result", "bundle"]
"""intermediate: for the stages after it; result: of interest by itself; bundle: kept whenever anything is."""
Progress = Callable[[float, str], None]
"""`progress(fraction in 0…1, current step)`."""
KeyFacts = tuple[tuple[str, object], ...]
"""`(name, value)` pairs that enter a cache key."""


class PipelinePerformanceWarning(UserWarning):
    """A legal but slow configuration; silenced by `suppress_performance_warnings`."""


@dataclass
class Context(Generic[ConfigT, InT]):
    """What `Stage.run` sees besides its task."""

    config: ConfigT
    inputs: Mapping[Coord, InT]
    """One for each source of the task."""
    directory: Path
    """Empty; everything written here is the item. It becomes visible only as a whole."""
    resume: Path
    """A folder for the checkpoints of a long item, which outlives an attempt that is killed; it may not exist yet. The
    stage checks what it finds there. Removed when the item is finished."""
    shared: Path
    """A folder of the stage for what one item found out and others need not find out again; it may not exist yet. No
    result depends on it."""
    threads: int
    progress: Progress
    digests: Mapping[Path, str] = field(default_factory=dict)
    """SHA-256 of every file of its inputs, as recorded when it was made. What leaves the cache is compared with it."""

    @property
    def input(self) -> InT:
        """The only input of a task with one source."""
        (only,) = self.inputs.values()
        return only


@dataclass(frozen=True)
class OutputContext:
    """What a stage sees when it writes predictions or pictures."""

    directory: Path
    """Empty; what is written here moves to `save_dir`, each file whole."""
    model: ModelOutput
    """`output.extra` of the model that runs."""
    env: Env
    predictions: Path | None
    """The folder of this stage's predictions; None if none were requested."""
    progress: Progress
    """Raises when the run is to stop."""


class Stage(ABC, Generic[ConfigT, InT, OutT]):
    """One step from a recipe to a device. Subclasses name their config, input and output types in the bases:

    `class Convert(Stage[ConvertConfig, PartInput, FloatDlc])`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised by hand when the output changes for the same input."""
    computed_with: ClassVar[tuple[str, ...]] = ()
    """Packages whose arithmetic its output holds, such as torch. Their minor versions are part of its keys. What else
    may change the last bits (patch versions, the CPU) is recorded with each entry instead: `Entry.made_with`."""
    imported_ahead: ClassVar[tuple[str, ...]] = ()
    """Modules that `run` imports and that start no thread: a run imports them once, not for every item."""
    axis_name: ClassVar[str | None] = None
    """The axis it opens."""
    merges: ClassVar[tuple[str, ...]] = ()
    """The axes it closes; axes that are not open are ignored."""
    stateful: ClassVar[bool] = False
    """Nothing from here on is reused from the cache."""
    computed_from: ClassVar[Mapping[str, str]] = {}
    """Task parameters that hold a setting's value: `{"part.of": "stages.split_model.num_splits"}`. If one differs, the
    setting is named as the reason, and the other parameters of its group are taken as consequences."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Stages that must come before it."""
    is_side_branch: ClassVar[bool] = False
    """Its items are not inputs of later stages: those read, and derive their keys from, what came before it."""
    adds_items: ClassVar[bool] = False
    """Its items join those before it, which later stages get as well. Each of its tasks names one source or several
    among them, for what it reads."""
    worth: ClassVar[Worth] = "result"
    """What its files are kept for, see `StageConfig.keep`."""
    on_demand: ClassVar[bool] = False
    """Its items are made when a later item reads them or the user asks for them, and not for their own sake."""
    read_instead: ClassVar[Mapping[str, frozenset[str]]] = {}
    """By field of its input: those that its items do not read where that one is found."""
    long_read: ClassVar[frozenset[str]] = frozenset()
    """Fields of its output whose files stay when the others are let go: items much further down read them."""
    output_version: ClassVar[int] = 1
    """Raised by hand when the predictions or pictures of the same items change."""

    config_type: ClassVar[type[StageConfig]]
    input_type: ClassVar[type[StageInput]]
    output_type: ClassVar[type[StageOutput]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            origin = getattr(base, "__origin__", None)
            if isinstance(origin, type) and issubclass(origin, Stage):
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
        """The same for `plan`. Override only if `expand` must read an artifact; the result must have the same shape."""
        return self.expand(batch, env)

    def artifact_kinds(self, env: Env) -> Counter[str]:
        """Counted files of one item."""
        return self.output_type.artifact_kinds()

    def cache_key_extras(self, env: Env) -> KeyFacts:
        """Facts that its output depends on besides settings and upstream items."""
        return ()

    def facets(self, env: Env) -> KeyFacts:
        """Digests of the parts of its result, by name, if later items can depend on one part and not on another. The
        keys of later items then contain the facets that they read, and not its key."""
        return ()

    def facets_read(self) -> Collection[str] | None:
        """The facets of earlier stages that its items read themselves; what its sources read is in the sources' keys.
        None, the default: all of them."""
        return None

    def fields_read(self) -> Collection[str]:
        """The fields of its input that its items read with these settings."""
        return self.input_type.model_fields

    def earlier_key_extras(self, env: Env) -> KeyFacts:
        """What `cache_key_extras` was before keys had facets; entries of that time are still found."""
        return self.cache_key_extras(env)

    def introspect(self, batch: Batch, env: Env, token: Any) -> Mapping[str, object]:
        """What `plan` prints for it besides the counts; an exception here never breaks the plan."""
        return {}

    def validate(self, before: Sequence[AnyStage], after: Sequence[AnyStage]) -> None:
        """Check the stage's position in the pipeline.

        Raises:
            ContractViolation: a stage it requires does not come before it.
        """
        earlier = {stage.name for stage in before}
        for needed in self.requires:
            if needed not in earlier:
                later = any(stage.name == needed for stage in after)
                problem = f"{needed} must come before it but comes after" if later else f"it needs {needed} before it"
                raise ContractViolation(problem, where=f"stages.{self.name}", remedy=f"put {needed} before {self.name}")

    def check(self, env: Env) -> None:
        """Check what is known before work starts: limits of the target, files that must exist. Raises a QairtError."""

    def check_tools(self, env: Env) -> None:
        """Check what must be installed to run its items but not to plan them. Raises a QairtError."""

    def check_files(self, env: Env) -> None:
        """Check its files' content, where that takes seconds and a run finds out early: only `qairt check` does. Raises
        a QairtError."""

    def notices(self, env: Env) -> Sequence[str]:
        """What the user should know about settings and files that passed `check`, though nothing is wrong."""
        return ()

    # Running

    @abstractmethod
    def run(self, task: Task, context: Context[ConfigT, InT]) -> OutT:
        """Make one item in `context.directory`. May run in another process: it sees only its arguments."""

    # Folding back

    def reduce(self, results: Mapping[Coord, Any], env: Env, token: Any) -> Mapping[Coord, object]:
        """Fold results over the axes this stage opened: `{whole coordinate: {opened coordinate: result}}`.

        A stage that opens no axis returns the results unchanged.
        """
        opened = self.axes(env)
        if not opened:
            return dict(results)
        folded: dict[Coord, dict[Coord, object]] = {}
        for coord, result in results.items():
            outer = without(coord, opened)
            inner = tuple(pair for pair in coord if pair[0] in opened)
            folded.setdefault(outer, {})[inner] = result
        return dict(folded)

    # To disk and back

    def export(self, output: OutT, path: Path) -> None:
        """Write `output` into the folder `path`: its files are copied, its fields go to `output.json`."""
        export_output(output, path)

    @classmethod
    def load_from_cache(cls, path: Path, *, absent: Collection[str] = (), **_: object) -> OutT:
        """The output that `export` wrote into `path`.

        Args:
            absent: its files that were let go; the output may name them.
        """
        return read_output(cls.output_type, path, absent)  # type: ignore[return-value]

    # Reports, on a cache hit as on a run; not part of the key

    def publish(self, items: Batch, directory: Path) -> None:
        """Fill the empty folder `directory`; it becomes `{cache_dir}/{stage}`, as a whole."""

    def remarks(self, items: Batch) -> Sequence[str]:
        """What the user should know about its finished items, at the end of every run that has them."""
        return ()

    def write_predictions(self, items: Batch, context: OutputContext) -> None:
        """Write the model's answers at this stage. Override it in a stage that can run its result."""

    def prediction_key_extras(self, env: Env) -> KeyFacts:
        """What its predictions depend on besides its items, as `(noun, value)` pairs."""
        return ()

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        """Write pictures (`.svg`, `.png`) and pages of its finished items. Override it in a stage that draws."""


AnyStage = Stage[Any, Any, Any]
"""A stage of whatever config, input and output types."""

_registry: dict[str, type[AnyStage]] = {}

StageT = TypeVar("StageT", bound=type[AnyStage])


def register_stage(stage: StageT) -> StageT:
    """Class decorator: let recipes use a stage by its name."""
    known = _registry.get(stage.name)
    if known is not None and (known.__module__, known.__qualname__) != (stage.__module__, stage.__qualname__):
        raise ContractViolation(
            f"two stages are called {stage.name}: {known.__module__} and {stage.__module__}", where=stage.__qualname__
        )
    _registry[stage.name] = stage
    return stage


def registered_stages() -> dict[str, type[AnyStage]]:
    """All registered stages, by name."""
    return dict(_registry)
