"""Whether a full screen can be shown, and showing it."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.cli.console import emit
from qairt.cli.foreground import close_terminal
from qairt.cli.screen_options import ScreenLook

if TYPE_CHECKING:
    from qairt.cli.foreground import Leave
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.record.folder import RunFolder
    from qairt.engine.run.options import RunOptions
    from qairt.tui.choices import Choice
    from qairt.tui.launch import AppExit
    from qairt.tui.session import ThreadSession

SMALLEST = (60, 15)
"""Columns and lines."""


def why_no_screen() -> str | None:
    """Why plain text is printed instead of a full screen; None if a screen is possible."""
    if is_in_browser():
        return None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "there is no terminal"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return "CI is set"
    if os.environ.get("TERM", "dumb") in ("dumb", ""):
        return "TERM is dumb"
    columns, lines = shutil.get_terminal_size()
    if columns < SMALLEST[0] or lines < SMALLEST[1]:
        return f"the window is {columns}x{lines} characters, smaller than {SMALLEST[0]}x{SMALLEST[1]}"
    if sys.platform == "win32":
        return "this system's terminal is not supported"
    return None


def is_in_browser() -> bool:
    """Whether textual-serve runs this process: the screen goes to a browser."""
    return "WebDriver" in os.environ.get("TEXTUAL_DRIVER", "")


@dataclass(frozen=True)
class ScreenRequest:
    """What the screen is to show."""

    recipe: Path
    overrides: Sequence[str]
    cache_dir: Path | None
    options: RunOptions
    start: bool = False
    """Start the run at once."""
    host: bool = False
    """Run it in a separate process."""
    attach: RunFolder | None = None
    look: ScreenLook = ScreenLook()  # noqa: RUF009 - frozen


def show(request: ScreenRequest) -> int:
    """Show the screen until the user leaves it; returns the exit code of the run in it."""
    from qairt.cli.foreground import run_in_foreground

    if is_in_browser():
        return _show_here(request, lambda code: None)
    return run_in_foreground(lambda leave: _show_here(request, leave))


def choose(look: ScreenLook) -> Choice | None:
    """Let the user choose among the recipes and runs of this machine; None if they left."""
    from qairt.tui.picker import pick

    return pick(look.flags())


def _show_here(request: ScreenRequest, leave: Leave) -> int:
    gc.disable()  # everything loaded now stays: collecting while it loads is a tenth of the start-up time
    from qairt.cli.find_recipe import open_pipeline
    from qairt.project import Project
    from qairt.tui.app import LaunchOptions
    from qairt.tui.launch import run_app

    project = Project(
        recipe=request.recipe,
        overrides=tuple(request.overrides),
        open_pipeline=lambda: open_pipeline(str(request.recipe), request.overrides, request.cache_dir),
        cache_dir=request.attach.path.parents[2] if request.attach else _cache_dir(request),
        options=request.options,
        cache_option=request.cache_dir,
        find_quality=_quality,
    )
    look = request.look
    ended = run_app(
        project,
        LaunchOptions(start=request.start, host=request.host, attach=request.attach, readonly=look.readonly),
        flags=look.flags(),
        on_exit=lambda ended: _after_screen(ended, leave),
    )
    return ended.code


def _quality(pipeline: Pipeline) -> Sequence[tuple[str, str, str]]:
    from qairt.report.gather import gather
    from qairt.report.page import quality_numbers
    from qairt.results.estimate import at_most_of

    return quality_numbers(gather(pipeline.cache, "", dict(pipeline.recipe), at_most=at_most_of(pipeline)))


def _after_screen(ended: AppExit, leave: Leave) -> None:
    """The terminal is plain again: print what the run left. It may still be running in this process."""
    from qairt.cli.failures import report_error
    from qairt.cli.find_run import how_to_return

    if ended.hung_up:
        close_terminal()
    if ended.failure:
        report_error(ended.failure, remedy="the run is not affected" if ended.run else "please report this bug")
    if ended.run is not None and ended.run_is_here and ended.own_run is not None and ended.own_run.is_ending:
        emit(f"run {ended.run.id} is ending: finished items are kept, and the same command resumes there")
    elif ended.run is not None:
        for line in how_to_return(ended.run):
            emit(line)
    elif ended.own_run is not None and not ended.hung_up:
        _print_outcome(ended.own_run)
    if ended.run_is_here:
        leave(ended.code)


def _print_outcome(run: ThreadSession) -> None:
    """Print how the run ended: the screen that showed it is gone."""
    from qairt.cli.failures import report_failure
    from qairt.cli.text.outcome import print_end

    run.poll()  # nobody has read its last events
    if run.error is not None:
        report_failure(run.error)
    elif run.result is not None:
        print_end(run.result, run.state, run.pipeline)


def _cache_dir(request: ScreenRequest) -> Path:
    """The cache directory, as far as it is known before the recipe is read."""
    from qairt.recipe.files import default_cache_dir

    return (request.cache_dir or default_cache_dir(request.recipe)).absolute()
