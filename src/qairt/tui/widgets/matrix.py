"""The stage matrix: the status of every item, and a cursor."""

from __future__ import annotations

from textual import events
from textual.message import Message

from qairt.engine.record.state import RunState
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import ItemKey
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.matrix_columns import SIGN
from qairt.tui.widgets.matrix_rows import MatrixRows


class StageMatrix(MatrixRows, inherit_bindings=False):
    """`MatrixRows` with a cursor on one item. On the line of a stage it stands for the item that matters most there."""

    BINDINGS = bindings("matrix")

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

    class Folded(Message):
        """A stage was opened or folded."""

    def __init__(self, look: Look | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(look, id=id, classes=classes)
        self._key: ItemKey | None = None
        self._row_id: tuple[str, str] | None = None
        self._preferred_column = 0
        """The column that up and down return to, if a row has an item there."""
        self._moved = False
        self._revealed: set[tuple[str, str]] = set()

    # Content

    def show(self, state: RunState, now: float) -> None:
        """Show a run as it is at `now`; repaints only changed lines."""
        self._load(state, now)
        self._find_cursor()
        self._reveal_failed()

    @property
    def filter(self) -> str:
        """Text that the names of shown stages contain."""
        return self._filter

    @filter.setter
    def filter(self, text: str) -> None:
        self._filter = text.strip().lower()
        self._arrange()
        self._scroll_to_row(self._row)

    def _arrange(self) -> None:
        super()._arrange()
        self._find_cursor()

    def _kept_open(self) -> dict[str, bool]:
        """The stage whose rows the user moves in."""
        stays = self._moved and self._row_id is not None and self._row_id[1]
        return {self._row_id[0]: self._choice.get(self._row_id[0], True)} if stays and self._row_id else {}

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
        return self._rows[self._row].keys if self._rows else ()

    def select(self, key: ItemKey) -> bool:
        """Move the cursor to an item, or to its folded stage; False if it is not shown."""
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

    def action_fold(self) -> None:
        """Fold the stage under the cursor, or open it."""
        if self._rows:
            row = self._rows[self._row]
            if row.kind != "only":
                self._choose({row.stage: row.kind == "folded"})

    def action_fold_all(self) -> None:
        """Fold every stage; open them all if none is open."""
        any_open = any(row.kind == "open" for row in self._rows)
        self._choose({group.stage: not any_open for group in self._groups if group.parts})

    def on_click(self, event: events.Click) -> None:
        """Select the clicked item, or open it if it is already selected; fold or open a stage at its sign."""
        place = event.get_content_offset(self)
        if place is None or place.y == 0 or not self._rows:
            return
        row = self.scroll_offset.y + place.y - 1
        if row >= len(self._rows):
            return
        event.stop()
        before = self._key, self._row
        column = self._columns.column_at(place.x, self._first)
        self._moved = True
        self._preferred_column = self._preferred_column if column is None else column
        self._go(row, None)
        if place.x < SIGN and self._rows[row].kind in ("open", "folded"):
            self.action_fold()
        elif before == (self._key, self._row) and self._key is not None:
            self.post_message(self.Activated(self._key))

    def on_resize(self) -> None:
        self._fit()
        self._scroll_to_row(self._row)

    # Inside

    def _choose(self, choice: dict[str, bool]) -> None:
        self._moved = True
        self._choice.update(choice)
        self._arrange()
        self._scroll_to_row(self._row)
        self.post_message(self.Folded())

    def _columns_of(self, row: int) -> list[int]:
        shown = self._rows[row]
        if shown.kind == "open":
            return [] if shown.most_urgent is None else [shown.most_urgent]
        return [column for column, cell in enumerate(shown.cells) if cell is not None]

    def _place_of(self, key: ItemKey) -> tuple[int, int] | None:
        """Row and column of an item; of its stage if that is folded."""
        for number, row in enumerate(self._rows):
            if row.stage != key[0] or row.kind == "open":
                continue
            for column, cell in enumerate(row.cells):
                if cell is not None and cell.key == key:
                    return number, column
        heads = [number for number, row in enumerate(self._rows) if row.kind == "folded" and key in row.keys]
        urgent = self._rows[heads[0]].most_urgent if heads else None
        return None if urgent is None else (heads[0], urgent)

    def _find_cursor(self) -> None:
        """Keep the cursor on its row when rows appear or disappear; on its stage when that is folded."""
        if not self._rows:
            self._row = self._column = 0
            self._announce(None)
            return
        places = {row.id: number for number, row in enumerate(self._rows)}
        stage = self._row_id[0] if self._row_id else ""
        number = places.get(self._row_id or ("", ""), places.get((stage, ""), min(self._row, len(self._rows) - 1)))
        columns = self._columns_of(number)
        if number != self._row or self._rows[number].id != self._row_id or self._column not in columns:
            self._go(number, self._column if self._column in columns else None)
        else:
            self._announce_row()

    def _go(self, row: int, column: int | None) -> None:
        """Select an item; without `column`, the one closest to the preferred column."""
        if not self._rows:
            return
        row = min(max(row, 0), len(self._rows) - 1)
        if column is None:
            column = min(self._columns_of(row), key=lambda each: abs(each - self._preferred_column), default=0)
        before = self._row
        self._row, self._column, self._row_id = row, column, self._rows[row].id
        self._refresh_row(before)
        self._refresh_row(row)
        self._scroll_to_row(row)
        self._show_column(column)
        self._announce_row()

    def _announce_row(self) -> None:
        cell = self._rows[self._row].cells[self._column]
        self._announce(cell.key if cell is not None else None)

    def _announce(self, key: ItemKey | None) -> None:
        if key != self._key:
            self._key = key
            self.post_message(self.Selected(key, self.selected_stage, self.selected_row_items))

    def _reveal_failed(self) -> None:
        """Scroll to a row with a new failure, and select it unless the user has moved the cursor."""
        if not self.size.height:
            return
        failed = {
            row.id: number
            for number, row in enumerate(self._rows)
            if row.kind != "open" and any(cell is not None and cell.status == "failed" for cell in row.cells)
        }
        new = [number for id, number in failed.items() if id not in self._revealed]
        self._revealed = set(failed)
        if not new:
            return
        if self._moved:
            self._scroll_to_row(new[0])
        else:
            cells = self._rows[new[0]].cells
            self._preferred_column = next(
                column for column, cell in enumerate(cells) if cell and cell.status == "failed"
            )
            self._go(new[0], None)
