"""Leaving the screen: for good, for a while (plain terminal, editor, pager), or because the terminal is gone."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from textual.app import SuspendNotSupported

from qairt.tui.screens.leave import CancelRunScreen, Choice, LeaveScreen
from qairt.tui.session import ThreadSession
from qairt.tui.shell import Shell
from qairt.tui.terminal.streaming import stream_events, stream_file


class Leaving(Shell):
    """Keys that leave the screen."""

    _streamed = 0
    """How many of `events` the plain terminal has seen."""
    _streamed_files: ClassVar[dict[Path, int]] = {}
    """How far it has seen logs."""

    # For good

    def action_leave(self) -> None:
        """Leave; asks when a run lives in this program."""
        if isinstance(self.screen, LeaveScreen | CancelRunScreen):
            return
        if self.owns_engine:
            fact = logout_fact()
            self.push_screen(LeaveScreen(self.session.state.run_id or "that just begins", fact), self._left)
        else:
            self.exit(return_code=self.code())

    def action_copy_or_leave(self) -> None:
        """Copy what is selected on the screen; leave when nothing is."""
        selected = self.screen.get_selected_text()
        if selected:
            self.say_copied(selected)
            self.screen.clear_selection()
        else:
            self.action_leave()

    def ask_detach(self) -> None:
        """Leave; the run goes on."""
        self.exit(return_code=0)

    def ask_cancel_run(self) -> None:
        """Cancel the run, once its id was typed."""
        state = self.session.state
        if self.readonly or self.session.readonly:
            self.notify("this screen is for looking only", severity="warning")
        elif self.going:
            busy = state.count("running", "quiet")
            self.push_screen(CancelRunScreen(state.run_id, busy), self._cancel_run)

    def hang_up(self) -> None:
        """The terminal is gone: close the screen. The run goes on."""
        self.hung_up = True
        self.exit(return_code=0)

    def code(self) -> int:
        """The exit code that says how the run ended, or why there can be none; 0 when none was run here."""
        run = self.own_run
        if run is None:
            error = self.project.planned.error if self.session.kind == "plan" else None
            return error.exit_code if error is not None else 0
        if not run.over.is_set():
            return 0
        if run.error is not None:
            return run.error.exit_code
        status = run.result.status if run.result else "failed"
        return {"done": 0, "interrupted": 130}.get(status, 1)

    def _left(self, choice: Choice | None) -> None:
        if choice == "detach":
            self.ask_detach()
        elif choice == "cancel" and isinstance(self.session, ThreadSession):
            self.session.pipeline.stop.set()
            self.exit(return_code=130)

    def _cancel_run(self, sure: bool | None) -> None:
        if sure:
            self.ask("cancel_run")

    # For a while

    def ask_stream(self) -> None:
        """Show everything as plain text; the same key returns."""
        missed = self.events[self._streamed :]
        with self._away() as away:
            if away:
                came = stream_events(missed, self.session.poll, self.tell, is_over=lambda: not self.going, back="s")
                self.events += came
                self._streamed = len(self.events)

    def ask_stream_item(self) -> None:
        """The same with the selected item's log."""
        item = self.monitor.selected
        path = self.find_log(item) if item else None
        if path is None:
            self.notify("this item has no log", severity="warning")
            return
        with self._away() as away:
            if away:
                seen = self._streamed_files
                seen[path] = stream_file(path, seen.get(path, 0), back="S")

    def edit_file(self, path: Path, line: int = 0) -> bool:
        """Open a file in the user's editor and wait; whether it could be opened."""
        words = editor(self.settings.editor)
        if words is None:
            self.notify("no editor is known: set EDITOR, or `editor:` in the settings", severity="error", markup=False)
            return False
        at_line = [f"+{line}"] if line and Path(words[0]).name in _TAKE_LINES else []
        with self._away() as away:
            if not away:
                return False
            try:
                subprocess.run([*words, *at_line, str(path)], check=False)
            except OSError as error:
                self.notify(f"{words[0]}: {error.strerror}", severity="error", markup=False)
                return False
        return True

    @contextmanager
    def _away(self) -> Iterator[bool]:
        """The plain terminal while inside; False where this terminal cannot be left."""
        try:
            with self.suspend():
                yield True
        except SuspendNotSupported:
            self.notify("this terminal cannot be left for a while", severity="warning")
            yield False
        self.monitor.forget_item()


_TAKE_LINES = ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "kak", "micro", "joe", "ne", "mg")
"""Editors that take `+LINE`."""


def editor(setting: str | None) -> list[str] | None:
    """The user's editor as words: from the settings, $VISUAL, $EDITOR, or what most systems have."""
    for text in (setting, os.environ.get("VISUAL"), os.environ.get("EDITOR")):
        if text and text.strip():
            return shlex.split(text)
    found = next((name for name in ("nano", "vim", "vi") if shutil.which(name)), None)
    return [found] if found else None


def logout_fact() -> str:
    """A sentence when this machine ends a user's processes at logout, which would end the run too."""
    try:
        text = Path("/etc/systemd/logind.conf").read_text()
    except OSError:
        return ""
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    if settings.get("KillUserProcesses", "no").strip() != "yes":
        return ""
    linger = Path("/var/lib/systemd/linger") / os.environ.get("USER", "")
    if linger.is_file():
        return ""
    return "This machine ends your processes when you log out, this run too: `loginctl enable-linger` prevents that."
