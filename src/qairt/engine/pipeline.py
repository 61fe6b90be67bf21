"""`Pipeline`: a recipe's stages over one cache directory; plans, runs, resumes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from qairt.engine.assembly import check_order
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.cache.trash import Trash
from qairt.engine.digests import FileDigests
from qairt.engine.plan.costs import CostHistory
from qairt.engine.plan.outputs import check_outputs, planned_outputs
from qairt.engine.plan.plan import make_plan
from qairt.engine.plan.planned import Plan
from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder, new_run_folder
from qairt.engine.run.options import RunOptions, RunResult
from qairt.engine.run.output_run import prepare_outputs
from qairt.engine.run.run import Run
from qairt.engine.stage import AnyStage, Env
from qairt.errors import QairtError, RecipeError
from qairt.files import append_line
from qairt.recipe.file_settings import make_config_files_absolute
from qairt.recipe.recipe import Recipe

if TYPE_CHECKING:
    from qairt.engine.observers import StageObserver

EventListener = Callable[[ev.Event], None]


class Pipeline:
    """The stages of a recipe, in its order, over one cache directory.

    Args:
        stages: configured stages in order.
        cache_dir: folder that gets `pipeline_state/`.
        recipe: what the stages were made from; kept beside the cache so that `load` can resume.
        settings: the recipe's top-level settings, for stages that ask `env.settings`.
        model: the name under which `output.extra` holds settings of the model that runs.
        verify_digests: check what is reused by content, not by presence and size alone; reads every byte.

    Raises:
        ContractViolation: the stages do not fit together; names the stage.
    """

    def __init__(
        self,
        stages: Sequence[AnyStage],
        cache_dir: str | Path,
        *,
        recipe: Recipe | None = None,
        settings: Any = None,
        model: str = "",
        suppress_performance_warnings: bool = False,
        verify_digests: bool = False,
    ) -> None:
        self.cache_dir = Path(cache_dir).absolute()
        self.recipe = recipe if recipe is not None else Recipe()
        self.settings = settings
        self.model = model
        self.suppress_performance_warnings = suppress_performance_warnings
        self._stages = list(stages)
        self.stages = SimpleNamespace(**{stage.name: stage.config for stage in stages})
        """Live configs by stage name: `pipeline.stages.split_model.num_splits = 3`."""
        self.warnings: list[str] = []
        """What the user should be told about this cache directory."""
        self.notices: list[str] = []
        """What the user may want to know, though nothing is wrong."""
        self.stop = threading.Event()
        """Set to end a run from another thread: running items are ended, finished ones kept."""
        self.handles_stop = False
        """A run is in the part that looks at `stop` all the time: nobody needs to break into it."""
        self.cache = StageCache(self.cache_dir, self._bad_entry, verify_digests=verify_digests)
        self.manifest = PipelineManifest(self.cache_dir)
        self.detached = False
        """Whether no terminal belongs to the process that runs it."""
        self._listeners: list[EventListener] = []
        self._observers: list[StageObserver] = []
        self._event_lock = threading.Lock()
        self._events_file: Path | None = None
        self._seq = 0
        self._over = False
        """The run's last word was said."""
        check_order(self._stages, suppress_performance_warnings=suppress_performance_warnings)

    @property
    def state_folder(self) -> Path:
        return self.cache.cache_dir

    def stage_names(self) -> list[str]:
        return [stage.name for stage in self._stages]

    @property
    def configured_stages(self) -> Sequence[AnyStage]:
        """The stages in order, with the settings they have now."""
        self._follow_live_configs()
        return tuple(self._stages)

    # Watching

    def add_observer(self, observer: StageObserver) -> None:
        """Add an observer; its hooks are called around every stage that runs, and for every event."""
        self._observers.append(observer)

    def remove_observer(self, observer: StageObserver) -> None:
        """Tell it nothing more."""
        with self._event_lock:
            self._observers.remove(observer)

    def add_listener(self, listener: EventListener) -> None:
        """Call `listener` for every event, in order, from the engine's threads."""
        self._listeners.append(listener)

    def remove_listener(self, listener: EventListener) -> None:
        """Call it no more."""
        with self._event_lock:
            self._listeners.remove(listener)

    def emit(self, event: ev.Event) -> None:
        """Number an event, write it to the run's stream and tell everyone who listens."""
        with self._event_lock:
            if self._over:  # said by a thread that did not know yet; readers look for the end in the last line
                return
            self._over = isinstance(event, ev.RunFinished)
            self._seq += 1
            event = event.model_copy(update={"seq": self._seq, "mono": time.monotonic()})
            if self._events_file is not None:
                append_line(self._events_file, event.model_dump())
            for listener in self._listeners:
                listener(event)
            for observer in self._observers:
                observer.on_event(event)

    # Planning

    def env(self) -> Env:
        """A fresh view for stages to describe their work in."""
        self._follow_live_configs()
        return Env(
            settings=self.settings,
            configs={stage.name: stage.config for stage in self._stages},
            digests=FileDigests(self.state_folder / "digests.json"),
            suppress_performance_warnings=self.suppress_performance_warnings,
        )

    def check(self, env: Env | None = None, *, tools: bool = True) -> None:
        """Everything that can be known before work starts.

        Args:
            tools: also what a plan can be made without.

        Raises:
            QairtError: the first stage that cannot run with these settings says why.
        """
        env = env or self.env()
        for stage in self._stages:
            self.check_stage(stage, env, tools=tools)

    def check_stage(self, stage: AnyStage, env: Env, *, tools: bool = True) -> None:
        """The same for one stage; the error says on which line the setting stands that it is about."""
        try:
            stage.check(env)
            if tools:
                stage.check_tools(env)
            check_outputs(stage, self._stages, self.cache_dir)
        except QairtError as error:
            raise self._placed(error) from error

    def plan(self, options: RunOptions | None = None) -> Plan:
        """What a run would do: every item, its key, cached or why not. Reads no weights.

        Raises:
            QairtError: the settings cannot work (see `check`).
        """
        env = self.env()
        self.check(env, tools=False)
        return self.plan_in(env, options or RunOptions())

    def plan_in(self, env: Env, options: RunOptions, made: frozenset[str] = frozenset()) -> Plan:
        """The plan in `env`; items named in `made` count as cached though they were forced."""
        stages = self._until(options)
        history = CostHistory(self.state_folder)
        plan = make_plan(stages, env, self.cache, history, force=options.force, made=made)
        plan.outputs = planned_outputs(plan.stages, self.cache_dir, self.model)
        return plan

    # Running

    def construct(self, options: RunOptions | None = None) -> RunResult:
        """Run all stages, skipping what is done.

        Returns:
            How it ended; failed items are in `failed`, everything else was made and is kept.

        Raises:
            QairtError: nothing could start (settings, cache directory).
        """
        options = options or RunOptions()
        env = self.env()
        self.check(env)
        stages = self._until(options)
        self.cache.prepare()
        prepare_outputs(stages, self.cache_dir)
        Trash(self.state_folder, self.manifest).recover()
        self._write_recipe()
        if self.manifest.is_damaged():
            self.warnings.append(f"{self.manifest.path} was damaged and is written anew")
        return Run(self, env, options).execute()

    @contextmanager
    def recording(self) -> Iterator[RunFolder]:
        """A new run's folder, held by this process and written to while inside."""
        folder = new_run_folder(self.state_folder)
        source = str(self.recipe.source.absolute()) if self.recipe.source else ""
        with folder.held(source, self.recipe.overrides, detached=self.detached):
            self._events_file, self._seq, self._over = folder.events, 0, False
            try:
                yield folder
            finally:
                self._events_file = None

    @property
    def observers(self) -> Sequence[StageObserver]:
        return tuple(self._observers)

    def _placed(self, error: QairtError) -> QairtError:
        """An error about a setting with the file and line the setting stands on."""
        setting = error.where or ""
        if self.recipe.source is None or setting.split(".")[0] not in self.recipe:
            return error
        return type(error)(f"{setting}: {error.what}", where=self.recipe.where(setting), remedy=error.remedy)

    def _until(self, options: RunOptions) -> Sequence[AnyStage]:
        """The stages that are asked for.

        Raises:
            RecipeError: a name among the options is no stage's.
        """
        names = self.stage_names()
        for name in (options.until, *options.force):
            if name is not None and name not in names:
                raise RecipeError(f"there is no stage {name} in this recipe", remedy=f"its stages: {', '.join(names)}")
        return self._stages if options.until is None else self._stages[: names.index(options.until) + 1]

    def _write_recipe(self) -> None:
        if self.recipe:
            self.recipe.to_yaml(self.state_folder / "recipe.yaml")

    def _follow_live_configs(self) -> None:
        for stage in self._stages:
            stage.config = getattr(self.stages, stage.name)
            make_config_files_absolute(self.recipe, ("stages", stage.name), stage.config, assigned=True)

    def _bad_entry(self, directory: Path, problem: str) -> None:
        note = f"{directory.parent.name}/{directory.name}: {problem}; set aside, it is made again"
        if note not in self.warnings:
            self.warnings.append(note)
