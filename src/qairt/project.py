"""One recipe with its overrides, its cache directory, and the runs in it: what the screen and background runs use."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.child_process import python_command, python_environment
from qairt.engine.cache.journal import cleared_at
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.record.folder import RunFolder, live_runs
from qairt.errors import CacheError, QairtError
from qairt.files import read_regular
from qairt.recipe.named_files import Stamps, changed_files, named_files, stamps_of

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan.planned import Plan
    from qairt.engine.run.options import RunOptions

_START_TIMEOUT = 20.0  # seconds for a background process to start its run


@dataclass
class PlanResult:
    """A plan, or the error that prevents one."""

    pipeline: Pipeline | None = None
    plan: Plan | None = None
    error: QairtError | None = None
    seconds: float = 0.0
    files: Stamps = field(default_factory=dict)
    """The recipe and every file that it names, as they were when they were read."""

    cleared: Mapping[str, float] = field(default_factory=dict)
    """When each result was cleared that undo can bring back, by key."""

    def changed_files(self) -> list[Path]:
        """The files that were changed since."""
        return changed_files(self.files)


@dataclass
class Project:
    """A recipe as the command line named it.

    Args:
        recipe: its file.
        overrides: `KEY=VALUE` arguments.
        open_pipeline: creates the pipeline from the present content of the file.
        cache_dir: its cache directory, as far as known before the recipe is read.
        options: how to run.
    """

    recipe: Path
    overrides: Sequence[str]
    open_pipeline: Callable[[], Pipeline]
    cache_dir: Path
    options: RunOptions
    cache_option: Path | None = None
    find_quality: Callable[[Pipeline], Sequence[tuple[str, str, str]]] = lambda pipeline: ()
    """Name, value and remark of what is known about the quality of the latest run's model."""
    planned: PlanResult = field(default_factory=PlanResult, repr=False)
    """The latest plan."""

    @property
    def state_folder(self) -> Path:
        return self.cache_dir / STATE_FOLDER

    @property
    def name(self) -> str:
        return self.recipe.name

    def plan(self, options: RunOptions | None = None) -> PlanResult:
        """Read the recipe again, and plan. Takes some tenths of a second: not for the thread of the screen."""
        began = time.monotonic()
        before = stamps_of({self.recipe.absolute(), *self.planned.files})
        planned = PlanResult(files=before)
        try:
            planned.pipeline = self.open_pipeline()
            self.cache_dir = planned.pipeline.cache_dir
            planned.plan = planned.pipeline.plan(options or self.options)
        except QairtError as error:
            planned.error = error
        except OSError as error:
            planned.error = CacheError(
                error.strerror or str(error), where=str(error.filename or self.recipe), remedy="check the path"
            )
        if planned.pipeline is not None:
            pipeline = planned.pipeline
            named = named_files(pipeline.recipe, [stage.config for stage in pipeline.configured_stages])
            inputs = {file for file in named if not file.is_relative_to(self.cache_dir)} | {self.recipe.absolute()}
            planned.files = {
                **stamps_of(inputs - before.keys()),
                **{file: before[file] for file in inputs & before.keys()},
            }
        planned.cleared = cleared_at(self.state_folder)
        planned.seconds = time.monotonic() - began
        self.planned = planned
        return planned

    def active_run(self) -> RunFolder | None:
        """The newest run of this recipe that is in progress."""
        own = str(self.recipe.absolute())
        active = [run for run in live_runs(self.state_folder) if (host := run.host()) is None or host.recipe == own]
        return active[-1] if active else None

    def command(self, verb: str = "run", options: RunOptions | None = None) -> list[str]:
        """The arguments that do the same from a shell, after `qairt`."""
        chosen = options or self.options
        arguments = [verb, str(self.recipe), *self.overrides]
        arguments += ["--until", chosen.until] if chosen.until else []
        for stage in sorted(chosen.force):
            arguments += ["--force", stage]
        arguments += ["--cache-dir", str(self.cache_option)] if self.cache_option else []
        return arguments

    def start_in_background(self, options: RunOptions | None = None) -> RunFolder:
        """Start the run in its own process and session, which outlives this one.

        Raises:
            CacheError: it ended before the run started; repeats what it printed.
        """
        chosen = options or self.options
        arguments = [
            *self.command("run", chosen),
            "--no-tui",
            "--jobs",
            str(chosen.jobs),
        ]
        arguments += ["--memory", str(chosen.memory)] if chosen.memory is not None else []
        if chosen.scheduler:
            arguments += ["--executor", chosen.executor, "--scheduler", chosen.scheduler]
        self.state_folder.mkdir(parents=True, exist_ok=True)
        path = self.state_folder / "host.log"
        before = {run.id for run in live_runs(self.state_folder)}
        with path.open("wb") as log:
            child = subprocess.Popen(
                python_command("-m", "qairt", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=python_environment() | {"PYTHONUNBUFFERED": "1"},
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            for run in live_runs(self.state_folder):
                host = run.host()
                if run.id not in before and host is not None and host.pid == child.pid:
                    return run
            if child.poll() is not None:
                break
            time.sleep(0.05)
        printed = read_regular(path).decode(errors="replace").strip()[-2000:]
        raise CacheError(
            "the run did not start in the background", where=str(path), remedy=printed or "its log is empty"
        )
