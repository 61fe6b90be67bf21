"""One log on the full screen."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Input, Static

from qairt.amounts import count, size
from qairt.engine.record.item_state import BUSY
from qairt.engine.record.sentences import nothing_written
from qairt.engine.record.state import RunState
from qairt.tui.keymap import bindings
from qairt.tui.lines.runs import cut
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.log_view import LogView, is_for_screen

_REFRESH_SECONDS = 0.25


class LogScreen(Screen[None]):
    """A log file, with search and a pager.

    Args:
        title: of the item, `<stage> <label>`.
        running: whether the file still grows; `tick` updates it.
        nothing: what is shown while the file is empty.
        seconds: between reads of the file.
    """

    BINDINGS: ClassVar[list[BindingType]] = [key for key in bindings("log") if is_for_screen(key)]
    TITLE = "log"
    DEFAULT_CSS = """
    LogScreen > #head { height: 1; color: $title; text-style: bold; }
    LogScreen > LogView { height: 1fr; }
    LogScreen > #search { height: 1; border: none; padding: 0; display: none; }
    LogScreen > #search.-open { display: block; }
    """

    def __init__(
        self,
        path: Path,
        title: str,
        look: Look,
        *,
        running: bool = False,
        nothing: str = "",
        seconds: float = _REFRESH_SECONDS,
    ) -> None:
        super().__init__()
        self._path = path
        self._title = title
        self._look = look
        self._status = "running" if running else ""
        self._grows = running
        self._nothing = nothing
        self._seconds = seconds
        self._head = Static(id="head", markup=False)
        self.view = LogView(look)
        self._input = Input(placeholder="search", id="search", compact=True)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self.view
        yield self._input
        yield KeyFooter()

    def on_mount(self) -> None:
        self.view.open(self._path, self._title, self._nothing)
        self.view.focus()
        self._show()
        self.set_interval(self._seconds, self._refresh_view)

    def tick(self, state: RunState, now: float) -> None:
        """Update whether the item still runs."""
        item = next((item for item in state.items.values() if item.name == self._title), None)
        if item is not None and item.status != self._status:
            self._status = item.status
            self._grows = item.status in BUSY
            self.view.open(self._path, self._title, nothing_written(item, self._path))
            self._show()

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self.view.look = look
        self._show()

    # Keys

    def action_search(self) -> None:
        """Open the search line."""
        self._input.add_class("-open")
        self._input.focus()

    def action_back(self) -> None:
        """Close the search line, the selection, the search, or this screen: whichever was opened last."""
        if self._input.has_class("-open"):
            self._close_search()
        elif self.view.clear_mark():
            return
        elif self.view.is_searching:
            self.view.search("")
        else:
            self.dismiss()

    def action_pager(self) -> None:
        """Open the file in the user's pager."""
        command = _pager_command(os.environ.get("PAGER", ""))
        if not command or shutil.which(command[0]) is None:
            what = f"{command[0]} is not installed" if command else "no pager found"
            self.notify(f"{what}; set PAGER to a pager such as less", severity="warning", markup=False)
            return
        if Path(command[0]).name == "less" and self._grows:
            command.append("+F")
        # Ctrl-C is for the pager. A handler, unlike SIG_IGN, is not inherited by it.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            with self.app.suspend():
                done = subprocess.run([*command, str(self._path.absolute())], check=False)
            if done.returncode not in (0, 130, -signal.SIGINT):
                self.notify(f"{command[0]} ended with exit code {done.returncode}", severity="warning", markup=False)
        except SuspendNotSupported:
            self.notify(f"the pager cannot open on this terminal; the file is {self._path}", markup=False)
        except OSError as fault:
            self.notify(f"{command[0]} cannot be started: {fault.strerror}", severity="error", markup=False)
        finally:
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        self.refresh()

    # Events

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._close_search()
        self.view.search(event.value)

    def on_log_window_changed(self) -> None:
        self._show()

    def on_resize(self) -> None:
        self._show()

    # Inside

    def _refresh_view(self) -> None:
        if self.is_current:
            self.view.refresh_from_file()

    def _close_search(self) -> None:
        self._input.remove_class("-open")
        self.view.focus()

    def _show(self) -> None:
        file = self.view.file
        if file is None or not self.is_mounted:
            return
        parts = [self._title, self._status, file.problem]
        if file.size or not file.problem:
            parts.append(size(file.size))
            if file.indexed < 1:
                parts.append(f"{100 * file.indexed:.0f} % read")
            elif self.view.following:
                parts.append(count(file.line_count, "line"))
            parts.append(self.view.position)
        line = self._look.text(" " + " · ".join(part for part in parts if part))
        self._head.update(cut(line, self.size.width, self._look), layout=False)


def _pager_command(value: str) -> list[str]:
    """The user's pager, or one that most systems have."""
    try:
        command = shlex.split(value)
    except ValueError:  # an unclosed quote
        command = value.split()
    return command or [name for name in ("less", "more") if shutil.which(name)][:1]
