"""Column widths of the stage matrix: names shrink first, then cells, then the splits scroll."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size

from qairt.engine.record.state import ItemStatus
from qairt.tui.lines.matrix import Cell, Matrix, MatrixRow
from qairt.tui.terminal.glyphs import Look

Role = ItemStatus | Literal["name", "tail", "off"]
Part = tuple[str, Role]
"""Text of a fixed width, and its role."""

_TIME, _LEFT = 6, 8
_GOOD_NAME, _SHORT_NAME, _MIN_NAME = 18, 14, 8
_NARROW, _NARROWER, _NARROWEST = 60, 46, 34
"""Below these widths TIME, then ETA, then DONE is left out."""
_INDEX_EVERY = 4


@dataclass(frozen=True)
class Columns:
    """Widths in cells of the terminal."""

    name: int = _MIN_NAME
    place: int = 0
    cell: int = 5
    shown: int = 1
    """How many splits fit."""
    done: int = 0
    time: int = 0
    left: int = 0

    @classmethod
    def fit(cls, matrix: Matrix, width: int) -> Columns:
        """The widest layout in which `matrix` fits into `width`."""
        place = max([cell_len(row.place) for row in matrix.rows], default=0)
        place = max(place, len(matrix.axes)) if place else 0
        done = max([4, *(2 * len(str(row.total)) + 1 for row in matrix.rows)]) if width >= _NARROWEST else 0
        left = _LEFT if width >= _NARROWER else 0
        time = _TIME if width >= _NARROW else 0
        taken = 2 + (place + 1 if place else 0) + sum(each + 1 for each in (done, time, left) if each) - bool(done)
        longest = max([5, *(cell_len(row.name) for row in matrix.rows)])
        for cell, least in ((5, _GOOD_NAME), (4, _GOOD_NAME), (4, _SHORT_NAME), (2, _SHORT_NAME), (2, _MIN_NAME)):
            name = min(width - taken - cell * matrix.width, longest)
            if name >= min(least, longest):
                return cls(name, place, cell, matrix.width, done, time, left)
        name = min(longest, _SHORT_NAME if width >= _NARROW else _MIN_NAME)
        return cls(name, place, 2, max((width - taken - name) // 2, 1), done, time, left)

    @property
    def cells_at(self) -> int:
        """Offset of the first cell."""
        return self.name + 1 + (self.place + 1 if self.place else 0)

    def column_at(self, x: int, first: int) -> int | None:
        """The column at `x` if `first` is the first one shown; None outside the cells."""
        place = (x - self.cells_at) // self.cell
        return first + place if 0 <= place < self.shown else None


def heading(matrix: Matrix, columns: Columns, first: int, look: Look) -> str:
    """The line above the rows. `<` and `>` mean that there are more splits on that side."""
    shown = matrix.columns[first : first + columns.shown]
    if columns.cell > 2:
        cells = "".join(f"s{number}".ljust(columns.cell)[: columns.cell] for number in shown)
    else:
        cells = _sparse_indices(shown, first)
    more = ">" if first + columns.shown < matrix.width else " "
    parts = [fitted("STAGE", columns.name, look), "<" if first else " "]
    if columns.place:
        parts = [parts[0], " ", matrix.axes.rjust(columns.place), parts[1]]
    tail = [("DONE", columns.done), ("TIME", columns.time), ("ETA", columns.left)]
    return (
        "".join(parts)
        + cells.ljust(columns.cell * columns.shown)
        + more
        + " ".join(text.ljust(width) for text, width in tail if width)
    )


def row_parts(row: MatrixRow, columns: Columns, first: int, look: Look) -> list[Part]:
    """A row as adjacent parts: the name, one part per column shown, and the rest."""
    before = f" {row.place.rjust(columns.place)} " if columns.place else " "
    parts: list[Part] = [(fitted(row.name, columns.name, look) + look.text(before), "name")]
    for cell in row.cells[first : first + columns.shown]:
        parts.append((" " * columns.cell, "off") if cell is None else (_cell(cell, columns.cell, look), cell.status))
    tail = [(f"{row.done}/{row.total}", columns.done), (row.time, columns.time), (row.left, columns.left)]
    parts.append((" " + " ".join(text.ljust(width)[:width] for text, width in tail if width), "tail"))
    return parts


def fitted(text: str, width: int, look: Look) -> str:
    """`text` in exactly `width` columns; an ellipsis marks a cut."""
    text = look.text(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(width - 1, 0)) + ("~" if look.ascii else "…")[:width]


def _cell(cell: Cell, width: int, look: Look) -> str:
    mark = look.mark(cell.status)
    if width > 2 and cell.status == "running":
        mark += cell.percent
    return set_cell_size(mark, width)


def _sparse_indices(shown: tuple[int, ...], first: int) -> str:
    """Two columns are too narrow for every number: show every fourth."""
    line = ""
    for position, number in enumerate(shown):
        if (first + position) % _INDEX_EVERY == 0:
            line = line.ljust(2 * position) + str(number)
    return line[: 2 * len(shown)]
