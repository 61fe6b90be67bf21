"""What the screen works on: one recipe with its overrides, its cache directory, and the runs in it. No Textual here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.record.folder import RunFolder, live_runs
from qairt.errors import CacheError, QairtError

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan.planned import Plan
    from qairt.engine.run.options import RunOptions

_PATIENCE = 20.0  # seconds for a host to begin its run


@dataclass
class Planned:
    """What planning gave: a plan, or why there is none."""

    pipeline: Pipeline | None = None
    plan: Plan | None = None
    error: QairtError | None = None
    seconds: float = 0.0


@dataclass
class Project:
    """A recipe as the command line named it.

    Args:
        recipe: its file.
        overrides: `KEY=VALUE` words.
        open_pipeline: makes the pipeline from the file as it is now.
        cache_dir: where its work is kept, as far as known before the recipe was read.
        options: how to run; not what.
    """

    recipe: Path
    overrides: Sequence[str]
    open_pipeline: Callable[[], Pipeline]
    cache_dir: Path
    options: RunOptions
    cache_option: Path | None = None
    planned: Planned = field(default_factory=Planned)
    """The last plan."""

    @property
    def state_folder(self) -> Path:
        return self.cache_dir / STATE_FOLDER

    @property
    def name(self) -> str:
        return self.recipe.name

    def plan(self, options: RunOptions | None = None) -> Planned:
        """Read the recipe as it is now, and plan. Takes some tenths of a second: not for the screen's thread."""
        began = time.monotonic()
        planned = Planned()
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
        planned.seconds = time.monotonic() - began
        self.planned = planned
        return planned

    def live(self) -> RunFolder | None:
        """The newest run of this recipe that is going now."""
        own = str(self.recipe.absolute())
        going = [run for run in live_runs(self.state_folder) if (host := run.host()) is None or host.recipe == own]
        return going[-1] if going else None

    def command(self, verb: str = "run", options: RunOptions | None = None) -> list[str]:
        """The words that do the same from a shell, after `qairt`."""
        chosen = options or self.options
        words = [verb, str(self.recipe), *self.overrides]
        words += ["--until", chosen.until] if chosen.until else []
        for stage in sorted(chosen.force):
            words += ["--force", stage]
        words += ["--cache-dir", str(self.cache_option)] if self.cache_option else []
        return words

    def start_host(self, options: RunOptions | None = None) -> RunFolder:
        """Start the run in a process and session of its own, which outlives this one.

        Raises:
            CacheError: it ended before it began; says what it printed.
        """
        chosen = options or self.options
        words = [*self.command("run", chosen), "--no-tui", "--jobs", str(chosen.jobs), "--memory", str(chosen.memory)]
        self.state_folder.mkdir(parents=True, exist_ok=True)
        path = self.state_folder / "host.log"
        before = {run.id for run in live_runs(self.state_folder)}
        with path.open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "qairt", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for run in live_runs(self.state_folder):
                host = run.host()
                if run.id not in before and host is not None and host.pid == child.pid:
                    return run
            if child.poll() is not None:
                break
            time.sleep(0.05)
        said = path.read_text(errors="replace").strip()[-2000:]
        raise CacheError("the run did not start in the background", where=str(path), remedy=said or "its log is empty")
