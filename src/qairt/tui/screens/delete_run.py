"""Confirmation before a run's events and logs are deleted."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from qairt.engine.record.summary import RunSummary
from qairt.tui.keymap import bindings
from qairt.tui.lines.runs import plain, recipe_name
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter


class DeleteRunScreen(ModalScreen[bool]):
    """True when the user confirms."""

    BINDINGS = bindings("confirm")
    DEFAULT_CSS = """
    DeleteRunScreen { align: center middle; }
    DeleteRunScreen > Vertical {
        width: 60; max-width: 100%; height: auto; max-height: 100%;
        border: solid $border; background: $surface; padding: 0 2;
    }
    DeleteRunScreen > Vertical.-ascii { border: ascii $border; }
    """

    def __init__(self, run: RunSummary, look: Look) -> None:
        super().__init__()
        self._run = look.text(f"Run {plain(run.id)} ({recipe_name(run)}, {run.state})")
        self._ascii = look.ascii

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Delete a run"
            box.set_class(self._ascii, "-ascii")
            yield Static(
                f"{self._run}: its events and logs will be permanently deleted. Its results stay in the cache."
                "\n\ny delete    n keep",
                markup=False,
            )
        yield KeyFooter()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
