"""The rows of the stage matrix as they are shown: a stage, and under it one row per AR and CL. No Textual here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from qairt.engine.record.item_state import BUSY, MADE, ItemState, ItemStatus
from qairt.tui.lines.matrix import Cell, ItemKey, Matrix, MatrixRow, clock, time_left

Kind = Literal["only", "folded", "open", "part"]
"""A stage in one row; a stage with its rows hidden; one with its rows below; one of those."""

_FIRST_AXIS = "AR"
_GRAVEST_FIRST: tuple[ItemStatus, ...] = (
    "failed",
    "interrupted",
    "quiet",
    "running",
    "shared",
    "blocked",
    "cancelled",
    "warn",
    "cleared",
    "stale",
    "ready",
    "waiting",
    "done",
    "cached",
    "on_demand",
)
"""What one sign for several items stands for: the first of these that any of them has."""
_RANK = {status: number for number, status in enumerate(_GRAVEST_FIRST)}
_BAR: tuple[tuple[ItemStatus, frozenset[ItemStatus]], ...] = (
    ("cached", frozenset({"cached"})),
    ("done", frozenset({"done", "warn"})),
    ("running", BUSY),
    ("failed", frozenset({"failed", "interrupted"})),
    ("blocked", frozenset({"blocked"})),
    ("cancelled", frozenset({"cancelled"})),
)
"""The parts of a stage's bar, from the left; what is left of it is empty."""
_COMFORT = 6
"""Lines that stay free for others before stages are opened that are made."""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One line of the matrix."""

    kind: Kind
    stage: str
    name: str
    """The stage, or `AR 128  CL 4096`."""
    place: str
    """Of a row within its stage; empty for the stage itself."""
    cells: tuple[Cell | None, ...]
    """By column. Those of a stage with several rows stand for all items of the column."""
    done: int
    total: int
    time: str
    left: str
    keys: tuple[ItemKey, ...]
    """Of all its items."""
    bar: tuple[tuple[ItemStatus, int], ...] = ()
    """How many items have each state, for the bar of a stage."""

    @property
    def id(self) -> tuple[str, str]:
        """Identifies the line, folded or not."""
        return self.stage, self.place

    @property
    def most_urgent(self) -> int | None:
        """The column of the item that the whole row stands for; None if it has no items."""
        there = [(_RANK[cell.status], column) for column, cell in enumerate(self.cells) if cell is not None]
        return min(there)[1] if there else None


@dataclass(frozen=True, slots=True)
class StageGroup:
    """One stage with its rows."""

    stage: str
    head: ShownRow
    """The stage as one line."""
    open_head: ShownRow
    """The stage when its rows stand below it."""
    parts: tuple[ShownRow, ...]
    """Empty if the stage is a single row."""
    source: tuple[MatrixRow, ...]
    """What it was made from."""

    @property
    def is_urgent(self) -> bool:
        """Whether it is at work or has failed."""
        return any(cell is not None and cell.status in BUSY | {"failed"} for cell in self.head.cells)

    @property
    def is_made(self) -> bool:
        """Whether nothing of it is left to do."""
        return all(cell is None or cell.status in MADE for cell in self.head.cells)


def stage_groups(matrix: Matrix, now: float, jobs: int, before: Sequence[StageGroup] = ()) -> tuple[StageGroup, ...]:
    """The stages of a matrix. Groups of `before` whose rows are the same objects are reused."""
    known = {group.stage: group for group in before}
    groups = []
    numbered = zip(matrix.rows, matrix.items, strict=True)
    for stage, found in groupby(numbered, key=lambda each: each[0].stage):
        rows = list(found)
        source = tuple(row for row, _ in rows)
        old = known.get(stage)
        if old is not None and len(old.source) == len(source) and all(map(_is, old.source, source)):
            groups.append(old)
        else:
            groups.append(_grouped(stage, matrix.axes, rows, source, now, jobs))
    return tuple(groups)


def shown_rows(groups: Sequence[StageGroup], choice: Mapping[str, bool], room: int) -> tuple[ShownRow, ...]:
    """The lines to show.

    Args:
        choice: stages that the user opened or folded.
        room: lines there are. Stages without a choice are opened while they fit: those at work or failed first, then
            those still to come. Those that are made stay folded unless there is room for all of them and more.
    """
    free = room - len(groups) - sum(len(group.parts) for group in groups if choice.get(group.stage))
    opened = {stage for stage, is_open in choice.items() if is_open}
    candidates = [group for group in groups if group.parts and group.stage not in choice]
    made = [group for group in candidates if group.is_made]
    for group in sorted([group for group in candidates if not group.is_made], key=lambda each: not each.is_urgent):
        if len(group.parts) > free:
            break
        free -= len(group.parts)
        opened.add(group.stage)
    if sum(len(group.parts) for group in made) + _COMFORT <= free:
        opened |= {group.stage for group in made}
    return tuple(row for group in groups for row in _lines(group, is_open=group.stage in opened))


def cells_of_bar(bar: tuple[tuple[ItemStatus, int], ...], total: int, width: int) -> list[tuple[ItemStatus, int]]:
    """How many columns each part of a bar takes; a part that has items is never left out while there is room."""
    if not total or width <= 0:
        return []
    shares: list[tuple[ItemStatus, int]] = []
    items, ends = 0, 0
    for status, number in bar:
        items += number
        end = min(max(width * items // total, ends + 1), width)
        if end > ends:
            shares.append((status, end - ends))
        ends = end
    return shares


# Inside


def _is(old: object, new: object) -> bool:
    return old is new


def _lines(group: StageGroup, *, is_open: bool) -> Iterator[ShownRow]:
    if not group.parts:
        yield group.head
        return
    yield group.open_head if is_open else group.head
    if is_open:
        yield from group.parts


def _grouped(
    stage: str,
    axes: str,
    rows: list[tuple[MatrixRow, tuple[ItemState | None, ...]]],
    source: tuple[MatrixRow, ...],
    now: float,
    jobs: int,
) -> StageGroup:
    names = [_place_name(axes, row.place) for row in source]
    items = [item for _, each in rows for item in each if item is not None]
    bar = tuple(
        (shown, number) for shown, statuses in _BAR if (number := sum(item.status in statuses for item in items))
    )
    first = source[0]
    keys = tuple((item.stage, item.label) for item in items)
    if len(source) == 1:
        name = f"{first.name} {names[0]}" if first.place else first.name
        head = ShownRow(
            "only", stage, name, first.place, first.cells, first.done, first.total, first.time, first.left, keys, bar
        )
        return StageGroup(stage, head, head, (), source)
    cells = tuple(_one_for_all([row.cells[column] for row in source]) for column in range(len(first.cells)))
    seconds = sum(item.seconds for item in items if item.status in ("done", "warn", "failed"))
    head = ShownRow(
        "folded",
        stage,
        first.name,
        "",
        cells,
        sum(row.done for row in source),
        sum(row.total for row in source),
        clock(seconds) if seconds else "",
        time_left(items, now, jobs),
        keys,
        bar,
    )
    parts = [
        ShownRow("part", stage, name, row.place, row.cells, row.done, row.total, row.time, row.left, tuple(row.keys))
        for name, row in sorted(zip(names, source, strict=True), key=lambda each: _order(axes, each[1].place))
    ]
    return StageGroup(stage, head, replace(head, kind="open"), tuple(parts), source)


def _one_for_all(cells: list[Cell | None]) -> Cell | None:
    there = [cell for cell in cells if cell is not None]
    return min(there, key=lambda cell: _RANK[cell.status]) if there else None


def _axes_of(axes: str, place: str) -> list[tuple[str, str]]:
    """`CL/AR` and `4096/128` as `[("AR", "128"), ("CL", "4096")]`; empty if the place is not one on the axes."""
    named = list(zip(axes.split("/"), place.split("/"), strict=False))
    if len(named) != place.count("/") + 1 or not all(value.isdigit() or value == "-" for _, value in named):
        return []
    return sorted([each for each in named if each[1] != "-"], key=lambda each: each[0] != _FIRST_AXIS)


def _place_name(axes: str, place: str) -> str:
    return "  ".join(f"{axis} {value}" for axis, value in _axes_of(axes, place)) or place


def _order(axes: str, place: str) -> tuple[bool, list[int]]:
    found = _axes_of(axes, place)
    return not found, [int(value) for _, value in found]
