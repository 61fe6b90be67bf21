"""Column widths of the stage matrix: names shrink first, then cells, then the splits scroll."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size

from qairt.engine.record.item_state import ItemStatus
from qairt.tui.lines.matrix import Cell, Matrix
from qairt.tui.lines.stage_rows import ShownRow, cells_of_bar
from qairt.tui.terminal.glyphs import Look

Role = ItemStatus | Literal["name", "stage", "tail", "track", "off"]
Part = tuple[str, Role]
"""Text of a fixed width, and its role."""

_TIME, _LEFT = 6, 8
_GOOD_NAME, _SHORT_NAME, _MIN_NAME = 20, 15, 8
_NARROW, _NARROWER, _NARROWEST = 60, 46, 34
"""Below these widths TIME, then ETA, then DONE is left out."""
_MIN_BAR, _MAX_BAR = 5, 24
_NARROW_CELL, _MAX_CELL = 2, 8
_LAYOUTS = (
    *((cell, _GOOD_NAME) for cell in (6, 5, 4)),
    *((cell, _SHORT_NAME) for cell in (4, 2)),
    (_NARROW_CELL, _MIN_NAME),
)
"""Columns of a cell and the least of a name, from the best layout on."""
_INDEX_EVERY = 4
SIGN = 2
"""Columns of the sign that a stage is open or folded."""
_SIGNS = {"open": "▼ ", "folded": "▶ ", "only": "  ", "part": "    "}
_ASCII_SIGNS = {**_SIGNS, "open": "v ", "folded": "+ "}
NAME, CELLS = 1, 2
"""Of the parts of a row: which is the name, and where the cells begin."""


@dataclass(frozen=True)
class Columns:
    """Widths in cells of the terminal."""

    name: int = _MIN_NAME
    cell: int = 5
    shown: int = 1
    """How many splits fit."""
    bar: int = 0
    done: int = 0
    time: int = 0
    left: int = 0

    @classmethod
    def fit(cls, matrix: Matrix, rows: Sequence[ShownRow], width: int) -> Columns:
        """The widest layout in which these rows fit into `width`; the bars take what is left over."""
        done = max([4, *(2 * len(str(row.total)) + 1 for row in rows)]) if width >= _NARROWEST else 0
        left = max([_LEFT, *(cell_len(row.left) for row in rows)]) if width >= _NARROWER else 0
        time = _TIME if width >= _NARROW else 0
        bar = _MIN_BAR if width >= _NARROW else 0
        taken = 2 + sum(each + 1 for each in (bar, done, time, left) if each) - bool(done)
        longest = max([5, *(cell_len(_SIGNS[row.kind] + row.name) for row in rows)])
        for cell, least in _LAYOUTS:
            name = min(width - taken - cell * matrix.width, longest)
            if name >= min(least, longest):
                spare = width - taken - cell * matrix.width - name
                bar = bar and min(bar + spare, _MAX_BAR)
                spare -= bar - _MIN_BAR if bar else 0
                if cell > _NARROW_CELL:
                    cell = min(cell + max(spare, 0) // matrix.width, _MAX_CELL)
                return cls(name, cell, matrix.width, bar, done, time, left)
        name = min(longest, _SHORT_NAME if width >= _NARROW else _MIN_NAME)
        return cls(name, 2, max((width - taken - name) // 2, 1), bar, done, time, left)

    @property
    def cells_at(self) -> int:
        """Offset of the first cell."""
        return self.name + 1

    def column_at(self, x: int, first: int) -> int | None:
        """The column at `x` if `first` is the first one shown; None outside the cells."""
        place = (x - self.cells_at) // self.cell
        return first + place if 0 <= place < self.shown else None


def heading(matrix: Matrix, columns: Columns, first: int, look: Look) -> str:
    """The line above the rows. `<` and `>` mean that there are more splits on that side."""
    shown = matrix.columns[first : first + columns.shown]
    if columns.cell > _NARROW_CELL:
        cells = "".join(f"s{number}".ljust(columns.cell)[: columns.cell] for number in shown)
    else:
        cells = _sparse_indices(shown, first)
    more = ">" if first + columns.shown < matrix.width else " "
    tail = [("", columns.bar), ("DONE", columns.done), ("TIME", columns.time), ("ETA", columns.left)]
    return (
        fitted("  STAGE", columns.name, look)
        + ("<" if first else " ")
        + cells.ljust(columns.cell * columns.shown)
        + more
        + " ".join(text.ljust(width) for text, width in tail if width)
    )


def row_parts(row: ShownRow, columns: Columns, first: int, look: Look) -> list[Part]:
    """A row as adjacent parts: its sign, the name, one part per column shown, the bar, and the rest."""
    sign = (_ASCII_SIGNS if look.ascii else _SIGNS)[row.kind][: columns.name]
    name = fitted(row.name, columns.name - len(sign), look)
    parts: list[Part] = [(sign, "tail"), (name + " ", "name" if row.kind == "part" else "stage")]
    for cell in row.cells[first : first + columns.shown]:
        if cell is None or row.kind == "open":
            parts.append((" " * columns.cell, "off"))
        else:
            parts.append((_cell(cell, columns.cell, look), cell.status))
    parts.append((" ", "off"))
    if columns.bar:
        parts += [*_bar(row, columns.bar, look), (" ", "off")]
    tail = [(f"{row.done}/{row.total}", columns.done), (row.time, columns.time), (row.left, columns.left)]
    parts.append((" ".join(fitted(text, width, look) for text, width in tail if width), "tail"))
    return parts


def fitted(text: str, width: int, look: Look) -> str:
    """`text` in exactly `width` columns; an ellipsis marks a cut."""
    text = look.text(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(width - 1, 0)) + look.ellipsis[:width]


_FILLED: Mapping[ItemStatus, str] = {"running": "╍", "failed": "×", "blocked": "·", "cancelled": "■"}
"""Glyphs of a bar's parts that are not finished work, so that none is told by its colour alone."""


def _bar(row: ShownRow, width: int, look: Look) -> list[Part]:
    """What is done of a stage; rows under a stage have none."""
    if row.kind == "part":
        return [(" " * width, "off")]
    shares = cells_of_bar(row.bar, row.total, width)
    empty = look.text("─")
    parts: list[Part] = [(look.text(_FILLED.get(status, "━")) * number, status) for status, number in shares]
    rest = width - sum(number for _, number in shares)
    return [*parts, (empty * rest, "track")] if rest else parts


def _cell(cell: Cell, width: int, look: Look) -> str:
    mark = look.mark(cell.status)
    if cell.status == "running" and cell_len(mark + cell.percent) <= width:
        mark += cell.percent
    return set_cell_size(mark, width)


def _sparse_indices(shown: tuple[int, ...], first: int) -> str:
    """Two columns are too narrow for every number: show every fourth."""
    line = ""
    for position, number in enumerate(shown):
        if (first + position) % _INDEX_EVERY == 0:
            line = line.ljust(2 * position) + str(number)
    return line[: 2 * len(shown)]
