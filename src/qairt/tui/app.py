"""`QairtApp`, and running it on the terminal so that the run outlives the screen."""

from __future__ import annotations

import asyncio
import locale
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from qairt.engine.record.folder import RunFolder
from qairt.project import Project
from qairt.tui.actions.clear import Clearing
from qairt.tui.actions.leave import Leaving
from qairt.tui.actions.open import Looking
from qairt.tui.actions.plan import Planning
from qairt.tui.actions.requests import Asking
from qairt.tui.look import choose_look
from qairt.tui.session import ThreadSession
from qairt.tui.settings import load_settings
from qairt.tui.terminal.driver import Driver
from qairt.tui.terminal.streaming import Tell
from qairt.tui.themes import load_themes


class QairtApp(Planning, Looking, Clearing, Asking, Leaving):
    """One recipe on the screen; see `Shell` for its arguments."""


@dataclass(frozen=True)
class Ended:
    """How the screen was left."""

    code: int
    """For the shell."""
    run: RunFolder | None
    """A run that is still going."""
    run_is_here: bool
    """It lives in this process."""
    own_run: ThreadSession | None
    """The latest run of this program."""
    hung_up: bool
    failure: str


def run_app(
    project: Project,
    *,
    tell: Tell,
    leaving: Callable[[Ended], None],
    start: bool = False,
    host: bool = False,
    attach: RunFolder | None = None,
    readonly: bool = False,
    ascii: bool = False,
    theme: str | None = None,
    refresh: float | None = None,
) -> Ended:
    """Show the app until it is left, then wait for a run that lives in this process.

    Args:
        leaving: called when the terminal is restored, before that wait.
    """
    flags = {"ascii": ascii or None, "theme": theme, "refresh": refresh}
    settings, problems = load_settings(flags, themes=[each.name for each in load_themes()[0]])
    choice = choose_look(settings, os.environ, locale.getencoding())
    app = QairtApp(
        project,
        settings,
        choice.look,
        tell=tell,
        theme=choice.theme,
        refresh=choice.refresh,
        ansi_color=choice.ansi_color,
        start=start,
        host=host,
        attach=attach,
        readonly=readonly,
        problems=problems,
        driver_class=None if "TEXTUAL_DRIVER" in os.environ else Driver,
    )

    async def show() -> Ended:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, app.hang_up)
        loop.add_signal_handler(signal.SIGTERM, app.hang_up)
        await app.run_async(mouse=settings.mouse == "auto")
        ended = Ended(
            code=app.return_code or 0,
            run=app.session.folder if app.going else None,
            run_is_here=app.owns_engine,
            own_run=app.own_run,
            hung_up=app.hung_up,
            failure=app.failure,
        )
        leaving(ended)
        return ended

    return asyncio.run(show())
