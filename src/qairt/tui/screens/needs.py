"""What one item needs, and what needs it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import ItemKey, plain
from qairt.tui.lines.needs import NeedsLine, needs_lines
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.row_list import RowList


class NeedsScreen(Screen[ItemKey | None]):
    """A list with the item in the middle; the result is the item that the user chose."""

    BINDINGS = bindings("needs")
    DEFAULT_CSS = """
    NeedsScreen > #head { height: 1; background: $panel; text-style: bold; }
    NeedsScreen > RowList { padding: 0 1; }
    """

    def __init__(self, run: RunState, item: ItemState, look: Look) -> None:
        super().__init__()
        self._run = run
        self._item = item
        self._look = look
        self._lines: list[NeedsLine] = []
        self._list = RowList()

    def compose(self) -> ComposeResult:
        yield Static(self._look.text(f" {plain(self._item.name)}"), id="head", markup=False)
        yield self._list
        yield KeyFooter()

    def on_mount(self) -> None:
        self._list.focus()
        self._show()
        own = (self._item.stage, self._item.label)
        self._list.highlighted = next(at for at, line in enumerate(self._lines) if line.key == own)

    def tick(self, state: RunState, now: float) -> None:
        """Show the items as they are now."""
        if state is self._run:
            self._show()

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._show()

    def action_open(self) -> None:
        """Choose the item under the cursor."""
        place = self._list.highlighted
        key = self._lines[place].key if place is not None else None
        if key is not None:
            self.dismiss(key)

    def action_back(self) -> None:
        self.dismiss(None)

    def _show(self) -> None:
        lines = needs_lines(self._run, self._item, self._look)
        if lines != self._lines:
            self._lines = lines
            self._list.show([line.text for line in lines])
