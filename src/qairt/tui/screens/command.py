"""The output of a command that the screen started."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Static

from qairt.amounts import duration
from qairt.tui.command import RunningCommand
from qairt.tui.keymap import bindings
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.log_view import LogView

_REFRESH_SECONDS = 0.25


class CommandScreen(Screen[None]):
    """Its state and time on one line, its output below, followed as it grows."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("command")
    DEFAULT_CSS = """
    CommandScreen > #head { height: 1; background: $panel; text-style: bold; }
    CommandScreen > LogView { height: 1fr; }
    """

    def __init__(self, command: RunningCommand, title: str, look: Look, seconds: float = _REFRESH_SECONDS) -> None:
        super().__init__()
        self._command = command
        self._title = title
        self._look = look
        self._seconds = seconds
        self._head = Static(id="head", markup=False)
        self.view = LogView(look, compact=True)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self.view
        yield KeyFooter()

    def on_mount(self) -> None:
        self.view.open(self._command.log, self._command.verb)
        self.view.focus()
        self._show()
        self.set_interval(self._seconds, self._show)

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self.view.look = look
        self._show()

    @property
    def head(self) -> str:
        """The first line."""
        code, took = self._command.exit_code, duration(self._command.seconds)
        if code is None:
            state = f"▶ cancelling, {took}" if self._command.cancelled else f"▶ running, {took}"
        elif self._command.cancelled:
            state = f"■ cancelled after {took}"
        else:
            state = f"✓ done in {took}" if code == 0 else f"× failed after {took}, exit code {code}"
        return self._look.text(f" {self._title}  {state}")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "cancel" or self._command.exit_code is None

    def action_cancel(self) -> None:
        """Interrupt the command."""
        self._command.cancel()
        self._show()

    def action_back(self) -> None:
        self.dismiss(None)

    def _show(self) -> None:
        self._head.update(self.head)
        self.view.refresh_from_file()
        self.refresh_bindings()
