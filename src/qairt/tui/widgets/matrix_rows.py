"""The lines of the stage matrix: stages, opened or folded, and the sign of every item."""

from __future__ import annotations

from typing import ClassVar, get_args

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from qairt.engine.record.item_state import ItemStatus
from qairt.engine.record.state import RunState
from qairt.tui.lines.matrix import EMPTY, Matrix, matrix_rows
from qairt.tui.lines.stage_rows import ShownRow, StageGroup, shown_rows, stage_groups
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.matrix_columns import CELLS, NAME, Columns, fitted, heading, row_parts

_ROLES = (*get_args(ItemStatus), "heading", "name", "stage", "tail", "track", "off")
_CURSOR = Style(reverse=True)
_CURSOR_ROW = Style(bold=True)


class MatrixRows(ScrollView, can_focus=True, inherit_bindings=False):
    """A line per stage, and under it one per AR and CL; a column per split.

    Only changed lines are repainted. Names and totals stay in place when splits scroll. `StageMatrix` adds the cursor
    and the keys.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"stage-matrix--{role}" for role in _ROLES}
    DEFAULT_CSS = """
    MatrixRows {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
    }
    MatrixRows > .stage-matrix--heading { color: $text-muted; text-style: bold; }
    MatrixRows > .stage-matrix--tail { color: $text-muted; }
    MatrixRows > .stage-matrix--track { color: $border; }
    MatrixRows > .stage-matrix--waiting { color: $state-waiting; }
    MatrixRows > .stage-matrix--ready { color: $state-ready; }
    MatrixRows > .stage-matrix--running { color: $state-running; text-style: bold; }
    MatrixRows > .stage-matrix--quiet { color: $state-quiet; text-style: bold underline; }
    MatrixRows > .stage-matrix--done { color: $state-done; }
    MatrixRows > .stage-matrix--cached { color: $state-cached; }
    MatrixRows > .stage-matrix--shared { color: $state-shared; }
    MatrixRows > .stage-matrix--stale { color: $state-stale; }
    MatrixRows > .stage-matrix--warn { color: $state-warn; text-style: bold; }
    MatrixRows > .stage-matrix--failed { color: $state-failed; text-style: bold; }
    MatrixRows > .stage-matrix--blocked { color: $state-blocked; }
    MatrixRows > .stage-matrix--cancelled { color: $state-cancelled; }
    MatrixRows > .stage-matrix--interrupted { color: $state-interrupted; }
    MatrixRows > .stage-matrix--cleared { color: $state-cleared; }
    MatrixRows > .stage-matrix--on_demand { color: $state-on_demand; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._look = look or Look()
        self._matrix: Matrix = EMPTY
        self._groups: tuple[StageGroup, ...] = ()
        self._rows: tuple[ShownRow, ...] = ()
        self._choice: dict[str, bool] = {}
        """Stages that the user opened or folded."""
        self._room: int | None = None
        self._columns = Columns()
        self._first = 0
        self._row = 0
        self._column = 0
        self._filter = ""
        self._styles_of: dict[str, Style] = {}

    # Content

    @property
    def room(self) -> int | None:
        """Lines that it may take for its rows; stages are folded to fit. None: all are open."""
        return self._room

    @room.setter
    def room(self, room: int | None) -> None:
        if room != self._room:
            self._room = room
            self._arrange()

    @property
    def wanted_height(self) -> int:
        """Lines in which everything is visible, with the heading."""
        return len(self._rows) + 1

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self.refresh()

    def _load(self, state: RunState, now: float) -> None:
        """Take a run as it is at `now`; repaints only changed lines."""
        before, heading_before = self._rows, (self._columns, self._matrix.columns)
        self._matrix = matrix_rows(state, now, self._matrix)
        self._groups = stage_groups(self._matrix, now, state.jobs, self._groups)
        self._rows = self._chosen_rows()
        self._fit()
        if heading_before != (self._columns, self._matrix.columns) or [row.id for row in before] != [
            row.id for row in self._rows
        ]:
            self.refresh()
            return
        for number, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if old is not new:
                self._refresh_changes(number, old, new)

    def _arrange(self) -> None:
        """Choose the rows again: the room, the filter or what is folded has changed."""
        self._rows = self._chosen_rows()
        self._fit()
        self.refresh()

    def _chosen_rows(self) -> tuple[ShownRow, ...]:
        groups = self._groups
        if self._filter:
            groups = tuple(group for group in groups if self._filter in group.stage.lower())
        room = self._room if self._room is not None else sum(1 + len(group.parts) for group in groups)
        return shown_rows(groups, self._choice | self._kept_open(), room)

    def _kept_open(self) -> dict[str, bool]:
        """Stages that stay open whatever the room."""
        return {}

    # Painting

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def render_line(self, y: int) -> Strip:
        """The heading, then the rows."""
        width = self.scrollable_content_region.width
        if y == 0:
            text = heading(self._matrix, self._columns, self._first, self._look)
            return Strip([Segment(fitted(text, width, self._look), self._style("heading"))], width)
        number = self.scroll_offset.y + y - 1
        if number >= len(self._rows):
            return Strip([Segment(fitted(self._empty_text(y), width, self._look), self._style("off"))], width)
        row = self._rows[number]
        chosen = -1
        if number == self._row:
            chosen = NAME if row.kind == "open" else self._column - self._first + CELLS
        segments = []
        for place, (text, role) in enumerate(row_parts(row, self._columns, self._first, self._look)):
            style = self._style(role)
            if place == chosen:
                style += _CURSOR
            elif chosen >= 0 and place == NAME:
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

    def _refresh_changes(self, row: int, old: ShownRow, new: ShownRow) -> None:
        """Repaint a row up to its last change; Textual always writes a line from its start."""
        columns, first = self._columns, self._first
        if (old.kind, old.bar, old.done, old.time, old.left) != (new.kind, new.bar, new.done, new.time, new.left):
            self._refresh_row(row)
            return
        both = zip(old.cells[first : first + columns.shown], new.cells[first:], strict=False)
        changed = [place for place, (was, cell) in enumerate(both) if was != cell]
        if changed and new.kind != "open":
            self._refresh_row(row, columns.cells_at + (changed[-1] + 1) * columns.cell)

    # Positions

    @property
    def _lines(self) -> int:
        """Visible rows."""
        return max(self.scrollable_content_region.height - 1, 1)

    def _fit(self) -> None:
        size = Size(1, len(self._rows) + 1)
        if self.virtual_size != size:
            self.virtual_size = size
        columns = Columns.fit(self._matrix, self._rows, self.scrollable_content_region.width)
        if columns != self._columns:
            self._columns = columns
            self._show_column(self._column)
            self.refresh()

    def _show_column(self, column: int) -> None:
        shown = self._columns.shown
        first = min(max(self._first, column - shown + 1, 0), column, max(self._matrix.width - shown, 0))
        if first != self._first:
            self._first = first
            self.refresh()

    def _scroll_to_row(self, row: int) -> None:
        top = self.scroll_offset.y
        if row < top:
            self.scroll_to(y=row, animate=False)
        elif row >= top + self._lines:
            self.scroll_to(y=row - self._lines + 1, animate=False)
