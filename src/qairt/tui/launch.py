"""Running the app on the terminal, so that a run in this process outlives the screen."""

from __future__ import annotations

import asyncio
import locale
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qairt.engine.record.folder import RunFolder
from qairt.project import Project
from qairt.tui.app import LaunchOptions, QairtApp
from qairt.tui.look import choose_look
from qairt.tui.session import ThreadSession
from qairt.tui.settings import load_settings
from qairt.tui.terminal.driver import ResilientDriver
from qairt.tui.themes import load_themes


@dataclass(frozen=True)
class AppExit:
    """How the screen was left."""

    code: int
    """For the shell."""
    run: RunFolder | None
    """The run that was shown, while it is active."""
    run_is_here: bool
    """That run lives in this process."""
    own_run: ThreadSession | None
    """The latest run of this program."""
    hung_up: bool
    """The terminal is gone."""
    failure: str
    """Why the screen had to close; empty when the user left it."""


def run_app(
    project: Project,
    launch: LaunchOptions,
    *,
    flags: Mapping[str, object],
    on_exit: Callable[[AppExit], None],
) -> AppExit:
    """Show the app until it is left, then wait for a run that lives in this process.

    Args:
        flags: settings given on the command line; None counts as not given.
        on_exit: called once the terminal is restored, before that wait.
    """
    settings, problems = load_settings(flags, themes=[theme.name for theme in load_themes()[0]])
    app = QairtApp(
        project,
        settings,
        choose_look(settings, os.environ, locale.getencoding()),
        launch,
        problems=problems,
        driver=None if "TEXTUAL_DRIVER" in os.environ else ResilientDriver,
    )

    async def show() -> AppExit:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, app.leave_actions.hang_up)
        loop.add_signal_handler(signal.SIGTERM, app.leave_actions.terminate)
        await app.run_async(mouse=settings.mouse == "auto")
        run = app.workspace.run
        if run.own is not None and run.own.finished is not None:
            await asyncio.to_thread(run.own.over.wait)  # only its records are missing
        result = AppExit(
            code=app.return_code or 0,
            run=run.active_folder,
            run_is_here=run.is_in_process,
            own_run=run.own,
            hung_up=app.leave_actions.hung_up,
            failure=app.failure,
        )
        on_exit(result)
        return result

    return asyncio.run(show())
