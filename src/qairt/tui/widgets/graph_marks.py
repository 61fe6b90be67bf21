"""Marks over a graph: where stages began, with their names; and a gauge of the whole machine."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look

Part = tuple[str, str]
"""Text and its component class."""

SIDE = {False: "│", True: "|"}
_LEAST_NAME = 3


def columns_of(marks: Sequence[tuple[int, str]], values: int, width: int, per_column: int) -> dict[int, str]:
    """Where each mark stands; of several in one column, the last one.

    Args:
        marks: index into the values, and name.
        values: how many there are, the last one in the last column.
    """
    found: dict[int, str] = {}
    for index, name in marks:
        column = width - 1 - (values - 1 - index) // per_column
        if 0 <= column < width:
            found[column] = plain(name)
    return found


def name_line(columns: dict[int, str], width: int, look: Look) -> str:
    """The names beside their marks. A name is cut at the next mark, and left out where it would be a letter or two."""
    side, line = SIDE[look.ascii], ""
    ordered = sorted(columns)
    for number, column in enumerate(ordered):
        end = ordered[number + 1] if number + 1 < len(ordered) else width
        line = line.ljust(column) + side
        name, room = look.text(columns[column]), end - column - 1
        if cell_len(name) > room:
            name = set_cell_size(name, room - 1) + look.ellipsis if room > _LEAST_NAME else ""
        line += name
    return set_cell_size(line, width)


def gauge(own: float, used: float | None, total: float, width: int, role: str, look: Look) -> list[Part]:
    """The whole machine on one line: this run in front, other programs behind it, and what is free.

    Args:
        role: component class of this run's part.
    """
    ours = min(max(round(width * own / total), 1 if own > 0 else 0), width)
    used = own if used is None else max(used, own)
    others = min(max(round(width * used / total), ours), width) - ours
    parts = [
        (look.text("█") * ours, role),
        (look.text("▒") * others, "graph--others"),
        (look.text("░") * (width - ours - others), "graph--frame"),
    ]
    return [part for part in parts if part[0]]
