"""Confirmation before a line of the recipe is changed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from qairt.recipe.edit import LineChange
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter


class RevertScreen(ModalScreen[bool]):
    """True when the user confirms."""

    BINDINGS = bindings("confirm")
    DEFAULT_CSS = """
    RevertScreen { align: center middle; }
    RevertScreen > VerticalScroll {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: solid $border; border-title-color: $title; background: $surface; padding: 0 2;
    }
    """

    def __init__(self, change: LineChange, look: Look) -> None:
        super().__init__()
        self._change = change
        self._look = look

    def compose(self) -> ComposeResult:
        change = self._change
        with VerticalScroll() as box:
            box.border_title = Content("Revert in the recipe")
            lines = (
                f"{change.file.name}:{change.line}, the rest of the file is unchanged",
                "",
                f"- {plain(change.before).strip()}",
                f"+ {plain(change.after).strip()}",
                "",
                "y change it    n keep it",
            )
            yield Static(self._look.text("\n".join(lines)), markup=False)
        yield KeyFooter()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
