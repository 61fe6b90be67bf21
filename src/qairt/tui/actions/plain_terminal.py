"""Leaving the screen for a while: the run or a log as plain text, and the user's editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.app import SuspendNotSupported

from qairt.engine.record.sentences import format_event
from qairt.tui.terminal.streaming import stream_events, stream_file
from qairt.tui.workspace import Workspace

_TAKE_LINE = ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "kak", "micro", "joe", "ne", "mg")
"""Editors that accept `+LINE`."""


class PlainTerminalActions:
    """Suspends the screen, and returns to it.

    Args:
        editor_setting: the editor in the user's settings.
    """

    def __init__(self, workspace: Workspace, editor_setting: str | None) -> None:
        self._workspace = workspace
        self._editor_setting = editor_setting
        self._printed_bytes: dict[Path, int] = {}
        """How much of each log was already printed."""

    def stream(self) -> None:
        """Print the run's events as text until the same key is pressed again."""
        run = self._workspace.run
        missed = run.events[run.printed :]
        with self._suspended() as suspended:
            if suspended:
                run.events += stream_events(
                    missed, run.session.poll, format_event, is_over=lambda: not run.is_active, back="s"
                )
                run.printed = len(run.events)

    def stream_item(self) -> None:
        """Print the selected item's log until the same key is pressed again."""
        item = self._workspace.monitor.selected
        path = self._workspace.find_log(item) if item else None
        if path is None:
            self._workspace.app.notify("no log for this item", severity="warning")
            return
        with self._suspended() as suspended:
            if suspended:
                self._printed_bytes[path] = stream_file(path, self._printed_bytes.get(path, 0), back="S")

    def edit(self, path: Path, line: int = 0) -> bool:
        """Open a file in the user's editor and wait; whether it could be opened."""
        notify = self._workspace.app.notify
        command = find_editor(self._editor_setting)
        if command is None:
            notify("no editor found: set EDITOR, or `editor:` in the settings", severity="error", markup=False)
            return False
        at_line = [f"+{line}"] if line and Path(command[0]).name in _TAKE_LINE else []
        with self._suspended() as suspended:
            if not suspended:
                return False
            try:
                subprocess.run([*command, *at_line, str(path)], check=False)
            except OSError as error:
                notify(f"{command[0]}: {error.strerror}", severity="error", markup=False)
                return False
        return True

    @contextmanager
    def _suspended(self) -> Iterator[bool]:
        """The plain terminal inside the block; False where the screen cannot be suspended."""
        try:
            with self._workspace.app.suspend():
                yield True
        except SuspendNotSupported:
            self._workspace.app.notify("the screen cannot be suspended on this terminal", severity="warning")
            yield False
        self._workspace.forget_item()


def find_editor(setting: str | None) -> list[str] | None:
    """The user's editor as a command: from the settings, $VISUAL, $EDITOR, or what most systems have."""
    for text in (setting, os.environ.get("VISUAL"), os.environ.get("EDITOR")):
        if text and text.strip():
            return shlex.split(text)
    found = next((name for name in ("nano", "vim", "vi") if shutil.which(name)), None)
    return [found] if found else None
