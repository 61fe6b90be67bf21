"""`Pipeline`: a recipe's stages over one cache directory; plans, runs, resumes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel

from qairt.engine.assembly import check_order
from qairt.engine.cache.cache import DIGESTS, StageCache
from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.cache.trash import Trash
from qairt.engine.choices import CHOICES, Choices
from qairt.engine.digests import FileDigests
from qairt.engine.last_result import LastResult
from qairt.engine.live_configs import LiveConfigs
from qairt.engine.plan.outputs import check_outputs
from qairt.engine.plan.plan import Planner
from qairt.engine.plan.planned import Plan
from qairt.engine.plan.requested import requested
from qairt.engine.record.events import Event
from qairt.engine.record.folder import RunFolder, new_run_folder
from qairt.engine.record.known_caches import remember_cache
from qairt.engine.record.metrics_file import MetricsFile
from qairt.engine.run.options import RunOptions, RunResult
from qairt.engine.run.output_run import prepare_outputs
from qairt.engine.run.run import Run
from qairt.engine.run.setup import RunSetup
from qairt.engine.run.stream import EventListener, EventStream
from qairt.engine.stage import AnyStage, Env, StageConfig
from qairt.errors import QairtError, RecipeError, unusable
from qairt.recipe.faults import combined
from qairt.recipe.file_settings import make_config_files_absolute
from qairt.recipe.recipe import Recipe
from qairt.recipe.settings import Keep, LogLevel

if TYPE_CHECKING:
    from qairt.engine.observers import StageObserver
    from qairt.engine.shared_store.shared_store import SharedStore


class Pipeline(LastResult):
    """The stages of a recipe, in its order, over one cache directory.

    Args:
        stages: configured stages in order.
        cache_dir: folder that gets `pipeline_state/`.
        recipe: what the stages were configured from; kept in the cache directory so that `load` can resume.
        settings: the recipe's top-level settings, for stages that use `env.settings`.
        model: the model's name in `output.extra`.
        enable_cache: whether finished items are reused, of stages that do not say it themselves.
        checkpoint: whether results are kept where `enable_cache` is false.
        verify_digests: read every byte of reused entries, also of files that have not changed since they were read.
        log_level: the messages that a run shows: `warning` leaves notices out, `error` warnings too.
        store: that several machines share results through.
        keep: which items keep their large files, of stages that do not say it themselves.

    Raises:
        ContractViolation: the stages do not fit together; names the stage.
    """

    def __init__(
        self,
        stages: Sequence[AnyStage],
        cache_dir: str | Path,
        *,
        recipe: Recipe | None = None,
        settings: BaseModel | None = None,
        model: str = "",
        suppress_performance_warnings: bool = False,
        enable_cache: bool = True,
        checkpoint: bool = False,
        verify_digests: bool = False,
        log_level: LogLevel = "info",
        store: SharedStore | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.cache_dir = Path(cache_dir).absolute()
        self.recipe = recipe if recipe is not None else Recipe()
        self.settings = settings
        self.model = model
        self.suppress_performance_warnings = suppress_performance_warnings
        self.log_level = log_level
        self._enable_cache, self._checkpoint = enable_cache, checkpoint
        self._stages = tuple(stages)
        self.stages = LiveConfigs(stages)
        """Settings by stage name: `pipeline.stages.split_model.num_splits = 3`."""
        self.warnings: list[str] = []
        """Problems with the recipe or this cache directory."""
        self.notices: list[str] = []
        """What the user may want to know, though nothing is wrong."""
        self.stage_notices: dict[str, tuple[str, ...]] = {}
        """The same from each stage, once it was checked."""
        self.stop = threading.Event()
        """Set to end a run from another thread: running items are stopped, finished ones kept."""
        self.cache = StageCache(self.cache_dir, self._bad_entry, verify_digests=verify_digests)
        self.manifest = PipelineManifest(self.cache_dir)
        self.store, self._keep = store, keep
        self.detached = False
        """Whether the process that runs it has no terminal."""
        self._stream = EventStream()
        self._run: Run | None = None
        check_order(self._stages, suppress_performance_warnings=suppress_performance_warnings)

    @property
    def state_folder(self) -> Path:
        return self.cache.cache_dir

    def stage_names(self) -> list[str]:
        return [stage.name for stage in self._stages]

    @property
    def configured_stages(self) -> Sequence[AnyStage]:
        """The stages in order, with their present settings."""
        return self._stages

    def all_notices(self) -> list[str]:
        """Those of the recipe, and of each stage that was checked, without repetitions."""
        told = [notice for notices in self.stage_notices.values() for notice in notices]
        return list(dict.fromkeys((*self.notices, *told)))

    def notes(self) -> list[str]:
        """Notices and warnings: what a plan tells besides its items."""
        return [*self.all_notices(), *self.warnings, *(self.store.notices() if self.store else ())]

    # Events

    def add_observer(self, observer: StageObserver) -> None:
        """Add an observer; its hooks are called around every stage that runs, and for every event.

        Raises:
            ValueError: it was added before.
        """
        self._stream.add_observer(observer)

    def remove_observer(self, observer: StageObserver) -> None:
        self._stream.remove_observer(observer)

    def add_listener(self, listener: EventListener) -> None:
        """Call `listener` for every event, in order, from the engine's threads."""
        self._stream.add_listener(listener)

    def remove_listener(self, listener: EventListener) -> None:
        self._stream.remove_listener(listener)

    def emit(self, event: Event) -> None:
        """Number an event, record it in the run in progress and pass it to all listeners."""
        self._stream.emit(event)

    # Planning

    def env(self, options: RunOptions | None = None) -> Env:
        """A new environment for stages to describe their work in. Files that a program assigned are found here.

        Args:
            options: of the run that it is for.
        """
        for stage in self._stages:
            make_config_files_absolute(self.recipe, ("stages", stage.name), stage.config, assigned=True)
        return Env(
            settings=self.settings,
            configs={stage.name: stage.config for stage in self._stages},
            digests=FileDigests(self.state_folder / DIGESTS),
            suppress_performance_warnings=self.suppress_performance_warnings,
            memory=options.memory if options is not None else None,
            choices=Choices(self.state_folder / CHOICES),
        )

    def check(self, env: Env | None = None, *, tools: bool = True) -> None:
        """Check everything that can be known before work starts.

        Args:
            tools: also what only a run needs, not a plan.

        Raises:
            QairtError: from the first stage that cannot run with these settings.
        """
        env = env or self.env()
        self.cache.require_folder()
        for stage in self._stages:
            self.check_stage(stage, env, tools=tools)
        if tools:
            self.cache.require_writable()

    def check_stage(self, stage: AnyStage, env: Env, *, tools: bool = True, files: bool = False) -> None:
        """The same for one stage, and with `files` the content of its files; the error names the line of the setting
        it is about."""
        try:
            stage.check(env)
            if tools:
                stage.check_tools(env)
            if files:
                stage.check_files(env)
            check_outputs(stage, self._stages, self.cache_dir)
            self.stage_notices[stage.name] = tuple(stage.notices(env))
        except QairtError as error:
            raise self._located(error) from error

    def plan(self, options: RunOptions | None = None, env: Env | None = None) -> Plan:
        """What a run would do: every item, its key, and whether it is cached or why not. Reads no weights.

        Args:
            env: a new one, for who asks it about the stages afterwards.

        Raises:
            QairtError: the settings cannot work (see `check`).
        """
        env = env or self.env(options)
        self.check(env, tools=False)
        return self._planned(self._planner(env, options or RunOptions()))

    def plan_finished(self) -> tuple[Env, Plan]:
        """The plan with everything that is there, also what the next run would not reuse, and its environment.

        Raises:
            QairtError: the settings cannot work.
        """
        env = self.env()
        self.check(env, tools=False)
        planner = replace(self._planner(env, RunOptions()), uncached=frozenset(), store=None, finished=True)
        return env, self._planned(planner)

    def _planned(self, planner: Planner) -> Plan:
        try:
            return planner.plan()
        except RecipeError as error:
            raise self._located(error) from error

    # Running

    @property
    def handles_stop(self) -> bool:
        """Whether a run is in progress that checks `stop` all the time, so that nobody needs to interrupt it."""
        return self._run is not None and self._run.handles_stop

    def construct(self, options: RunOptions | None = None) -> Self:
        """Run all stages, skipping finished items.

        Returns:
            This pipeline, with the `result` and its fields as attributes. Failed items are in `failed`; everything else
            is finished and kept.

        Raises:
            QairtError: nothing could start (settings, cache directory), or the disk failed.
        """
        options = options or RunOptions()
        env = self.env(options)
        self.check(env)
        planner = self._planner(env, options)
        self.cache.prepare()
        try:
            self.result = self._execute(planner, options)
            return self
        except RecipeError as error:
            raise self._located(error) from error
        except OSError as error:
            place = error.filename or self.state_folder
            instead = "choose another cache directory with --cache-dir"
            raise unusable(error, "the run cannot continue", place, instead=instead, kept=True) from error

    def _execute(self, planner: Planner, options: RunOptions) -> RunResult:
        prepare_outputs(planner.stages, self.cache_dir)
        Trash(self.state_folder, self.manifest, self.cache.readers).recover()
        self._write_recipe()
        planner.env.choices.keep()
        if self.manifest.is_damaged():
            self.warnings.append(f"{self.manifest.path} is damaged; it will be rewritten")
        if (metrics := MetricsFile(self.state_folder)).is_damaged():
            self.warnings.append(f"{metrics.path} is damaged; it will be set aside, and the scores in it are not shown")
        with self._new_run_folder() as folder:
            notices = self.all_notices() if self.log_level not in ("warning", "error") else ()
            warnings = self.warnings if self.log_level != "error" else ()
            not_kept = self._not_kept(planner.stages)
            setup = RunSetup(planner, self.manifest, self.recipe, folder, notices, warnings, not_kept)
            self._run = Run(setup, options, self._stream, self.stop)
            try:
                return self._run.execute()
            finally:
                self._run = None

    @contextmanager
    def _new_run_folder(self) -> Iterator[RunFolder]:
        folder = new_run_folder(self.state_folder)
        source = str(self.recipe.source.absolute()) if self.recipe.source else ""
        remember_cache(self.cache_dir)
        try:
            with folder.held(source, self.recipe.overrides, detached=self.detached):
                yield folder
        except RecipeError:
            if not self.detached and not folder.events.exists():  # nothing was announced
                shutil.rmtree(folder.path, ignore_errors=True)
            raise

    def _planner(self, env: Env, options: RunOptions) -> Planner:
        uncached = frozenset(stage.name for stage in self._stages if not self._reuses(stage.config))
        return Planner(
            stages=requested(self._stages, options.until, options.force),
            env=env,
            cache=self.cache,
            force=options.force,
            model=self.model,
            uncached=uncached,
            store=self.store,
            keep=self._keep,
            asked=options.asked,
        )

    def _reuses(self, config: StageConfig) -> bool:
        return self._enable_cache if config.enable_cache is None else config.enable_cache

    def _not_kept(self, stages: Sequence[AnyStage]) -> frozenset[str]:
        """The names of stages whose results are deleted when a run of `stages` has ended."""
        return frozenset(
            stage.name
            for stage in stages[:-1]
            if not self._reuses(stage.config)
            and not (self._checkpoint if stage.config.checkpoint is None else stage.config.checkpoint)
        )

    def _located(self, error: QairtError) -> QairtError:
        """An error about a setting, or several, with the file and line of each setting."""
        if isinstance(error, RecipeError) and error.faults:
            return combined([self.recipe.located(fault) for fault in error.faults])
        setting = error.where or ""
        if self.recipe.source is None or setting.split(".")[0] not in self.recipe:
            return error
        return type(error)(f"{setting}: {error.what}", where=self.recipe.where(setting), remedy=error.remedy)

    def _write_recipe(self) -> None:
        if self.recipe:
            self.recipe.to_yaml(self.state_folder / "recipe.yaml")

    def _bad_entry(self, directory: Path, problem: str) -> None:
        warning = f"{directory.parent.name}/{directory.name}: {problem}; it was set aside and will be rebuilt"
        if warning not in self.warnings:
            self.warnings.append(warning)
