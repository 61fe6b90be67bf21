"""The stage matrix: the status of every item, and a cursor."""

from __future__ import annotations

from typing import ClassVar, get_args

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qairt.engine.record.state import ItemStatus, RunState
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import EMPTY, ItemKey, Matrix, MatrixRow, matrix_rows
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.matrix_columns import Columns, fitted, heading, row_parts

_ROLES = (*get_args(ItemStatus), "heading", "name", "tail", "off")
_CURSOR = Style(reverse=True)
_CURSOR_ROW = Style(bold=True)


class StageMatrix(ScrollView, can_focus=True, inherit_bindings=False):
    """A row per stage and AR, a column per split, and a cursor on one item.

    Only changed lines are repainted. Names and totals stay in place when splits scroll.
    """

    BINDINGS = bindings("matrix")
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"stage-matrix--{role}" for role in _ROLES}
    DEFAULT_CSS = """
    StageMatrix {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    StageMatrix > .stage-matrix--heading { color: $text-muted; text-style: bold; }
    StageMatrix > .stage-matrix--tail { color: $text-muted; }
    StageMatrix > .stage-matrix--waiting { color: $state-waiting; }
    StageMatrix > .stage-matrix--ready { color: $state-ready; }
    StageMatrix > .stage-matrix--running { color: $state-running; text-style: bold; }
    StageMatrix > .stage-matrix--quiet { color: $state-quiet; text-style: bold underline; }
    StageMatrix > .stage-matrix--done { color: $state-done; }
    StageMatrix > .stage-matrix--cached { color: $state-cached; }
    StageMatrix > .stage-matrix--shared { color: $state-shared; }
    StageMatrix > .stage-matrix--stale { color: $state-stale; }
    StageMatrix > .stage-matrix--warn { color: $state-warn; text-style: bold; }
    StageMatrix > .stage-matrix--failed { color: $state-failed; text-style: bold; }
    StageMatrix > .stage-matrix--blocked { color: $state-blocked; }
    StageMatrix > .stage-matrix--cancelled { color: $state-cancelled; }
    StageMatrix > .stage-matrix--interrupted { color: $state-interrupted; }
    """

    class Selected(Message):
        """The cursor moved to another item."""

        def __init__(self, item_key: ItemKey | None, stage: str | None, row_items: tuple[ItemKey, ...]) -> None:
            self.item_key = item_key
            self.stage = stage
            self.row_items = row_items
            super().__init__()

    class Activated(Message):
        """The selected item was clicked."""

        def __init__(self, item_key: ItemKey) -> None:
            self.item_key = item_key
            super().__init__()

    def __init__(self, look: Look | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._look = look or Look()
        self._matrix: Matrix = EMPTY
        self._rows: tuple[MatrixRow, ...] = ()
        self._columns = Columns()
        self._first = 0
        self._key: ItemKey | None = None
        self._row = 0
        self._column = 0
        self._preferred_column = 0
        """The column that up and down return to, if a row has an item there."""
        self._moved = False
        self._revealed: set[tuple[str, str]] = set()
        self._filter = ""
        self._styles_of: dict[str, Style] = {}

    # Content

    def show(self, state: RunState, now: float) -> None:
        """Show a run as it is at `now`; repaints only changed lines."""
        before, heading_before = self._rows, (self._columns, self._matrix.columns, self._matrix.axes)
        self._matrix = matrix_rows(state, now, self._matrix)
        self._rows = self._filtered()
        self._fit()
        if heading_before != (self._columns, self._matrix.columns, self._matrix.axes) or len(before) != len(self._rows):
            self.refresh()
        else:
            for number, (old, new) in enumerate(zip(before, self._rows, strict=True)):
                if old is not new:
                    self._refresh_changes(number, old, new)
        self._find_cursor()
        self._reveal_failed()

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self.refresh()

    @property
    def filter(self) -> str:
        """Text that the names of shown stages contain."""
        return self._filter

    @filter.setter
    def filter(self, text: str) -> None:
        self._filter = text.strip().lower()
        self._rows = self._filtered()
        self._fit()
        self.refresh()
        self._find_cursor()
        self._scroll_to_row(self._row)

    # Selection

    @property
    def selected_item(self) -> ItemKey | None:
        """Stage and label of the item under the cursor; None if there are no rows."""
        return self._key if self._rows else None

    @property
    def selected_stage(self) -> str | None:
        """The stage under the cursor."""
        return self._rows[self._row].stage if self._rows else None

    @property
    def selected_row_items(self) -> tuple[ItemKey, ...]:
        """All items of the row under the cursor."""
        return tuple(self._rows[self._row].keys) if self._rows else ()

    def select(self, key: ItemKey) -> bool:
        """Move the cursor to an item; False if it is not shown."""
        place = self._place_of(key)
        if place is None:
            return False
        self._preferred_column = place[1]
        self._go(*place)
        return True

    # Keys and mouse

    def action_move(self, down: int, right: int) -> None:
        """Move by rows, or within a row to the next item."""
        if not self._rows:
            return
        self._moved = True
        if down:
            self._go(self._row + down, None)
            return
        there = [column for column in self._columns_of(self._row) if (column - self._column) * right > 0]
        if there:
            self._preferred_column = min(there, key=lambda column: abs(column - self._column))
            self._go(self._row, self._preferred_column)

    def action_edge(self, end: int) -> None:
        """Go to the first row (-1) or the last (1)."""
        self._moved = True
        self._go(0 if end < 0 else len(self._rows) - 1, None)

    def action_page(self, direction: int) -> None:
        """Go one page down (1) or up (-1)."""
        self._moved = True
        self._go(self._row + direction * max(self._lines - 1, 1), None)

    def on_click(self, event: events.Click) -> None:
        """Select the clicked item, or open it if it is already selected."""
        place = event.get_content_offset(self)
        if place is None or place.y == 0 or not self._rows:
            return
        row = self.scroll_offset.y + place.y - 1
        if row >= len(self._rows):
            return
        event.stop()
        before = self._key
        column = self._columns.column_at(place.x, self._first)
        self._moved = True
        self._preferred_column = self._preferred_column if column is None else column
        self._go(row, None)
        if before == self._key and before is not None:
            self.post_message(self.Activated(before))

    # Painting

    def on_resize(self) -> None:
        self._fit()
        self._scroll_to_row(self._row)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def render_line(self, y: int) -> Strip:
        """The heading, then the rows."""
        width = self.scrollable_content_region.width
        if y == 0:
            text = heading(self._matrix, self._columns, self._first, self._look)
            return Strip([Segment(fitted(text, width, self._look), self._style("heading"))], width)
        row = self.scroll_offset.y + y - 1
        if row >= len(self._rows):
            return Strip([Segment(fitted(self._empty_text(y), width, self._look), self._style("off"))], width)
        chosen = self._column - self._first + 1 if row == self._row else -1
        segments = []
        for number, (text, role) in enumerate(row_parts(self._rows[row], self._columns, self._first, self._look)):
            style = self._style(role)
            if number == chosen:
                style += _CURSOR
            elif chosen >= 0 and role == "name":
                style += _CURSOR_ROW
            segments.append(Segment(text, style))
        return Strip(Segment.simplify(segments)).adjust_cell_length(width, self._style("off"))

    def _empty_text(self, y: int) -> str:
        if self._rows or y > 1:
            return ""
        return f"No stage matches {self._filter!r}." if self._filter else "No items yet."

    def _style(self, role: str) -> Style:
        style = self._styles_of.get(role)
        if style is None:
            style = self._styles_of[role] = self.get_component_rich_style(f"stage-matrix--{role}")
        return style

    def _refresh_row(self, row: int, width: int | None = None) -> None:
        y = row - self.scroll_offset.y + 1
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, width or self.size.width, 1))

    def _refresh_changes(self, row: int, old: MatrixRow, new: MatrixRow) -> None:
        """Repaint a row up to its last change; Textual always writes a line from its start."""
        columns, first = self._columns, self._first
        if (old.id, old.done, old.time, old.left) != (new.id, new.done, new.time, new.left):
            self._refresh_row(row)
            return
        both = zip(old.cells[first : first + columns.shown], new.cells[first:], strict=False)
        changed = [place for place, (was, cell) in enumerate(both) if was != cell]
        if changed:
            self._refresh_row(row, columns.cells_at + (changed[-1] + 1) * columns.cell)

    # Positions

    @property
    def _lines(self) -> int:
        """Visible rows."""
        return max(self.scrollable_content_region.height - 1, 1)

    def _filtered(self) -> tuple[MatrixRow, ...]:
        if not self._filter:
            return self._matrix.rows
        return tuple(row for row in self._matrix.rows if self._filter in row.stage.lower())

    def _fit(self) -> None:
        size = Size(1, len(self._rows) + 1)
        if self.virtual_size != size:
            self.virtual_size = size
        columns = Columns.fit(self._matrix, self.scrollable_content_region.width)
        if columns != self._columns:
            self._columns = columns
            self._show_column(self._column)
            self.refresh()

    def _columns_of(self, row: int) -> list[int]:
        return [column for column, cell in enumerate(self._rows[row].cells) if cell is not None]

    def _place_of(self, key: ItemKey) -> tuple[int, int] | None:
        for number, row in enumerate(self._rows):
            if row.stage == key[0]:
                for column, cell in enumerate(row.cells):
                    if cell is not None and cell.key == key:
                        return number, column
        return None

    def _find_cursor(self) -> None:
        """Keep the cursor on its item when rows appear or disappear."""
        place = self._place_of(self._key) if self._key is not None else None
        if place == (self._row, self._column):
            return
        if place is not None:
            self._row, self._column = place
            self.refresh()
        elif self._rows:
            self._go(min(self._row, len(self._rows) - 1), None)
        else:
            self._row = self._column = 0
            self._announce(None)

    def _go(self, row: int, column: int | None) -> None:
        """Select an item; without `column`, the one closest to the preferred column."""
        if not self._rows:
            return
        row = min(max(row, 0), len(self._rows) - 1)
        if column is None:
            column = min(self._columns_of(row), key=lambda each: abs(each - self._preferred_column))
        before = self._row
        self._row, self._column = row, column
        self._refresh_row(before)
        self._refresh_row(row)
        self._scroll_to_row(row)
        self._show_column(column)
        cell = self._rows[row].cells[column]
        self._announce(cell.key if cell is not None else None)

    def _announce(self, key: ItemKey | None) -> None:
        if key != self._key:
            self._key = key
            self.post_message(self.Selected(key, self.selected_stage, self.selected_row_items))

    def _scroll_to_row(self, row: int) -> None:
        top = self.scroll_offset.y
        if row < top:
            self.scroll_to(y=row, animate=False)
        elif row >= top + self._lines:
            self.scroll_to(y=row - self._lines + 1, animate=False)

    def _show_column(self, column: int) -> None:
        shown = self._columns.shown
        first = min(max(self._first, column - shown + 1, 0), column, max(self._matrix.width - shown, 0))
        if first != self._first:
            self._first = first
            self.refresh()

    def _reveal_failed(self) -> None:
        """Scroll to a row with a new failure, and select it unless the user has moved the cursor."""
        if not self.size.height:
            return
        failed = {row.id: number for number, row in enumerate(self._rows) if row.has("failed")}
        new = [number for id, number in failed.items() if id not in self._revealed]
        self._revealed = set(failed)
        if not new:
            return
        cells = self._rows[new[0]].cells
        if self._moved:
            self._scroll_to_row(new[0])
        else:
            self._preferred_column = next(
                column for column, cell in enumerate(cells) if cell and cell.status == "failed"
            )
            self._go(new[0], None)
