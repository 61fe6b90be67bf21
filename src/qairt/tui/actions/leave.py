"""Leaving the app, with or without its run."""

from __future__ import annotations

import os
from pathlib import Path

from qairt.tui.screens.leave import CancelRunScreen, LeaveChoice, LeaveScreen
from qairt.tui.session import ThreadSession
from qairt.tui.workspace import Workspace


class LeaveActions:
    """Ends the app. A run is cancelled only when the user chooses that."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.hung_up = False
        """The terminal is gone."""

    def leave(self) -> None:
        """Leave; confirms while a run is active in this process."""
        app, run = self._workspace.app, self._workspace.run
        if isinstance(app.screen, LeaveScreen | CancelRunScreen):
            return
        if run.is_active_here:
            app.push_screen(LeaveScreen(run.session.state.run_id, logout_warning()), self._leave)
        else:
            app.exit(return_code=run.exit_code(self._workspace.project.planned.error))

    def detach(self) -> None:
        """Leave; the run continues."""
        self._workspace.app.exit(return_code=0)

    def hang_up(self) -> None:
        """The terminal is gone: close the screen. The run continues."""
        self.hung_up = True
        self._workspace.app.exit(return_code=0)

    def terminate(self) -> None:
        """SIGTERM: end the run of this program, as Ctrl-C does without a screen, and close the screen."""
        own = self._workspace.run.own
        running = own is not None and not own.over.is_set()
        if own is not None:
            own.pipeline.stop.set()
        if self._workspace.app.is_running:
            self._workspace.app.exit(return_code=130 if running else 0)

    def _leave(self, choice: LeaveChoice | None) -> None:
        run = self._workspace.run
        session = run.session
        if choice == "detach":
            self._workspace.app.exit(return_code=run.exit_code(None))  # it may have ended meanwhile
        elif choice == "cancel" and isinstance(session, ThreadSession):
            session.pipeline.stop.set()
            self._workspace.app.exit(return_code=130)


def logout_warning() -> str:
    """A sentence when this machine kills a user's processes at logout, which would end the run too."""
    try:
        text = Path("/etc/systemd/logind.conf").read_text(encoding="utf-8")
    except OSError:
        return ""
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    if settings.get("KillUserProcesses", "no").strip() != "yes":
        return ""
    if (Path("/var/lib/systemd/linger") / os.environ.get("USER", "")).is_file():
        return ""
    return "This machine kills your processes at logout, including this run; `loginctl enable-linger` prevents that."
