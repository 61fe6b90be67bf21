"""Whether a full screen can be shown here, and showing it."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.cli.console import say
from qairt.cli.foreground import close_terminal

if TYPE_CHECKING:
    from qairt.cli.foreground import Leave
    from qairt.engine.record.folder import RunFolder
    from qairt.engine.run.options import RunOptions
    from qairt.tui.launch import AppExit
    from qairt.tui.session import ThreadSession

LEAST = (60, 15)
"""Columns and lines."""


def why_no_screen() -> str | None:
    """Why plain text is shown instead of a full screen; None when nothing stands against one."""
    if is_in_browser():
        return None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "there is no terminal"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return "CI is set"
    if os.environ.get("TERM", "dumb") in ("dumb", ""):
        return "TERM is dumb"
    columns, lines = shutil.get_terminal_size()
    if columns < LEAST[0] or lines < LEAST[1]:
        return f"the window has {columns}x{lines} characters, less than {LEAST[0]}x{LEAST[1]}"
    if sys.platform == "win32":
        return "this system's terminal is not supported"
    return None


def is_in_browser() -> bool:
    """Whether textual-serve runs us: the screen goes to a browser."""
    return "WebDriver" in os.environ.get("TEXTUAL_DRIVER", "")


@dataclass(frozen=True)
class Wanted:
    """What the user asked of the screen."""

    recipe: Path
    overrides: Sequence[str]
    cache_dir: Path | None
    options: RunOptions
    start: bool = False
    """Start the run at once."""
    host: bool = False
    """Run it in a process of its own."""
    attach: RunFolder | None = None
    readonly: bool = False
    ascii: bool = False
    theme: str | None = None
    refresh: float | None = None


def show(wanted: Wanted) -> int:
    """Show the screen until it is left; returns the exit code of what was run in it."""
    from qairt.cli.foreground import run_in_foreground

    if is_in_browser():
        return _show_here(wanted, lambda code: None)
    return run_in_foreground(lambda leave: _show_here(wanted, leave))


def _show_here(wanted: Wanted, leave: Leave) -> int:
    gc.disable()  # what is loaded now stays: looking through it again and again takes a tenth of the start
    from qairt.cli.recipe_argument import open_pipeline
    from qairt.project import Project
    from qairt.tui.app import LaunchOptions
    from qairt.tui.launch import run_app

    project = Project(
        recipe=wanted.recipe,
        overrides=tuple(wanted.overrides),
        open_pipeline=lambda: open_pipeline(str(wanted.recipe), wanted.overrides, wanted.cache_dir),
        cache_dir=wanted.attach.path.parents[2] if wanted.attach else _cache_dir(wanted),
        options=wanted.options,
        cache_option=wanted.cache_dir,
    )
    ended = run_app(
        project,
        LaunchOptions(start=wanted.start, host=wanted.host, attach=wanted.attach, readonly=wanted.readonly),
        flags={"ascii": wanted.ascii or None, "theme": wanted.theme, "refresh": wanted.refresh},
        on_exit=lambda ended: _say_goodbye(ended, leave),
    )
    return ended.code


def _say_goodbye(ended: AppExit, leave: Leave) -> None:
    """The terminal is the plain one again: say what is left behind. The run may still be going here."""
    from qairt.cli.failures import tell_error
    from qairt.cli.find_run import how_to_return

    if ended.hung_up:
        close_terminal()
    if ended.failure:
        tell_error(ended.failure, remedy="the run is not affected" if ended.run else "please report it")
    if ended.run is not None:
        for line in how_to_return(ended.run):
            say(line)
    elif ended.own_run is not None and not ended.hung_up:
        _say_how_it_ended(ended.own_run)
    if ended.run_is_here:
        leave(ended.code)


def _say_how_it_ended(run: ThreadSession) -> None:
    """The screen is gone, and with it what it showed."""
    from qairt.cli.failures import report
    from qairt.cli.text.outcome import tell_end

    if run.error is not None:
        report(run.error)
    elif run.result is not None:
        tell_end(run.result, run.state, run.pipeline)


def _cache_dir(wanted: Wanted) -> Path:
    """Where work is kept as far as known before the recipe is read."""
    return (wanted.cache_dir or Path("qairt-cache") / wanted.recipe.stem).absolute()
