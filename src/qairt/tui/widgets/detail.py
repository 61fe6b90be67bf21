"""Pane 5: details of the selected item."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from qairt.engine.cache.entry import Entry
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.tui.keymap import bindings
from qairt.tui.lines.detail import detail_lines
from qairt.tui.terminal.glyphs import Look

_Shown = tuple[ItemState, PlannedItem | None, Entry | None, RunState, Sequence[tuple[str, str]]]


class Detail(VerticalScroll, inherit_bindings=False):
    """Scrollable and selectable text, repainted only when it changes."""

    BINDINGS = bindings("list")
    DEFAULT_CSS = """
    Detail { background: $background; scrollbar-size-vertical: 1; overflow-x: hidden; }
    Detail > Static { width: 1fr; height: auto; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._look = look or Look()
        self._text = Static(markup=False)
        self._lines: list[Content] = []
        self._shown: _Shown | None = None

    def compose(self) -> ComposeResult:
        yield self._text

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        if self._shown is not None:
            self.show(*self._shown)

    @property
    def copy_text(self) -> str:
        """The whole text."""
        return "\n".join(line.plain for line in self._lines)

    def show(
        self,
        item: ItemState,
        planned: PlannedItem | None,
        entry: Entry | None,
        run: RunState,
        manifest: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Show an item: its state in the run, its plan, what the manifest says of it, and its cache entry."""
        is_other_item = self._shown is None or self._shown[0].name != item.name
        self._shown = (item, planned, entry, run, manifest)
        lines = detail_lines(
            item, planned, entry, run, self._look, self.scrollable_content_region.width, manifest=manifest
        )
        if lines != self._lines:
            same_height = len(lines) == len(self._lines)  # they are broken to the width; else all panes are laid out
            self._lines = lines
            self._text.update(Content("\n").join(lines), layout=not same_height)
        if is_other_item:
            self.scroll_home(animate=False)

    def on_resize(self) -> None:
        """Break the lines anew."""
        if self._shown is not None:
            self.show(*self._shown)

    def action_cursor_down(self) -> None:
        self.scroll_down(animate=False)

    def action_cursor_up(self) -> None:
        self.scroll_up(animate=False)

    def action_scroll_top(self) -> None:
        self.scroll_home(animate=False)

    def action_scroll_bottom(self) -> None:
        self.scroll_end(animate=False)

    def action_page_up(self) -> None:
        self.scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        self.scroll_page_down(animate=False)
