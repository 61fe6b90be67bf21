"""What the stage matrix says: a row per stage and AR, a column per split. Pure; knows nothing of Textual."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qairt.engine.record.eta import left_of, wall_seconds
from qairt.engine.record.state import BUSY, MADE, UNMADE, ItemState, ItemStatus, RunState

ItemKey = tuple[str, str]
"""Stage and label of an item."""

COLUMN_AXIS = "split"
_ALWAYS_NAMED = "ar"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Cell:
    """One item in the matrix."""

    key: ItemKey
    status: ItemStatus
    percent: str = ""
    """`62` as its tool says, `~62` by the clock; empty unless it runs."""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """The items of one stage that differ only in their split."""

    stage: str
    name: str
    """The stage's name, fit to be shown."""
    place: str
    """Where it stands on the other axes: `128`, or `4096/128`."""
    cells: tuple[Cell | None, ...]
    """By column; None where the stage has no such item."""
    done: int
    total: int
    time: str
    """Seconds its finished items took together."""
    left: str
    """How long it still takes, or `cached`, `stale`, `1 failed`."""
    seen: tuple[object, ...]
    """What it was made from; a row of which nothing runs is made anew only when this differs."""

    @property
    def id(self) -> tuple[str, str]:
        """The row among all rows."""
        return self.stage, self.place

    @property
    def keys(self) -> list[ItemKey]:
        """Its items."""
        return [cell.key for cell in self.cells if cell is not None]

    def has(self, *statuses: ItemStatus) -> bool:
        """Whether one of its items is in one of these states."""
        return any(cell is not None and cell.status in statuses for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Matrix:
    """All rows, in the order of the stages."""

    axes: str
    """Heading of the rows' place: `AR`, or `CL/AR`."""
    columns: tuple[int, ...]
    """Numbers of the splits; empty where no stage is split."""
    rows: tuple[MatrixRow, ...]
    _items: tuple[tuple[ItemState | None, ...], ...] = ()
    _made_of: tuple[int, str, int] = (0, "", 0)

    @property
    def width(self) -> int:
        """Columns that rows have; a matrix without splits has one."""
        return max(len(self.columns), 1)


EMPTY = Matrix("", (), ())


def matrix_rows(state: RunState, now: float, before: Matrix = EMPTY) -> Matrix:
    """The matrix of a run at `now`. Rows of `before` in which nothing changed are the same objects again."""
    first = next(iter(state.items.values()), None)
    made_of = (id(first), state.run_id, len(state.items))
    grid = before if before._made_of == made_of else _arranged(state, made_of)
    jobs = state.jobs
    rows = tuple(
        row if row.seen == (seen := _seen(items)) and not row.has(*BUSY) else _filled(row, items, seen, now, jobs)
        for row, items in zip(grid.rows, grid._items, strict=True)
    )
    return Matrix(grid.axes, grid.columns, rows, grid._items, made_of)


def clock(seconds: float) -> str:
    """A duration in at most six columns: `4.2s`, `42s`, `37m37`, `1h05m`."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02d}m"


def plain(text: str) -> str:
    """`text` without control characters."""
    return _CONTROL.sub("", text)


# Inside


def _arranged(state: RunState, made_of: tuple[int, str, int]) -> Matrix:
    """Which item stands where; what the rows say is filled in afterwards."""
    items = state.items.values()
    columns = sorted({value for item in items for axis, value in item.coord if axis == COLUMN_AXIS})
    shown = _row_axes(items)
    by_row: dict[tuple[str, str], dict[int, ItemState]] = {}
    order = {stage: number for number, stage in enumerate(state.stages())}
    for item in items:
        coord = dict(item.coord)
        column = columns.index(coord[COLUMN_AXIS]) if COLUMN_AXIS in coord else 0
        row = (item.stage, _place(coord, shown))
        if column in by_row.get(row, {}) or (not coord and item.label != "all"):
            row = (item.stage, plain(item.label))
        by_row.setdefault(row, {})[column] = item
    width = max(len(columns), 1)
    rows, places = [], []
    for stage, place in sorted(by_row, key=lambda each: order[each[0]]):
        rows.append(MatrixRow(stage, plain(stage), place, (), 0, 0, "", "", ()))
        places.append(tuple(by_row[stage, place].get(column) for column in range(width)))
    heading = "/".join(axis.upper() for axis in shown)
    return Matrix(plain(heading), tuple(columns), tuple(rows), tuple(places), made_of)


def _row_axes(items: Iterable[ItemState]) -> list[str]:
    """Axes that tell rows apart; an axis with one value tells nothing."""
    values: dict[str, set[int]] = {}
    for item in items:
        for axis, value in item.coord:
            values.setdefault(axis, set()).add(value)
    return [axis for axis in values if axis != COLUMN_AXIS and (axis == _ALWAYS_NAMED or len(values[axis]) > 1)]


def _place(coord: dict[str, int], shown: list[str]) -> str:
    if not any(axis in coord for axis in shown):
        return ""
    return "/".join(str(coord.get(axis, "-")) for axis in shown)


def _seen(items: tuple[ItemState | None, ...]) -> tuple[object, ...]:
    return (*[item and item.status for item in items], sum([item.seconds for item in items if item]))


def _filled(
    row: MatrixRow, items: tuple[ItemState | None, ...], seen: tuple[object, ...], now: float, jobs: int
) -> MatrixRow:
    there = [item for item in items if item is not None]
    cells = tuple(
        None if item is None else Cell((item.stage, item.label), item.status, _percent(item, now)) for item in items
    )
    done = sum(item.status in MADE for item in there)
    seconds = sum(item.seconds for item in there if item.status in ("done", "warn", "failed"))
    time = clock(seconds) if seconds else ""
    return MatrixRow(row.stage, row.name, row.place, cells, done, len(there), time, _left(there, now, jobs), seen)


def _percent(item: ItemState, now: float) -> str:
    if item.status not in ("running", "quiet") or item.started is None:
        return ""
    if item.fraction > 0:
        return str(min(int(100 * item.fraction), 99))
    if not item.expected_seconds:
        return ""
    return f"~{min(int(100 * max(now - item.started, 0.0) / item.expected_seconds), 95)}"


def _left(items: list[ItemState], now: float, jobs: int) -> str:
    statuses = {item.status for item in items}
    failed = sum(item.status == "failed" for item in items)
    if failed:
        return f"{failed} failed"
    if "blocked" in statuses:
        return "blocked"
    if statuses == {"cached"}:
        return "cached"
    if "stale" in statuses and not statuses & BUSY:
        return "stale"
    unmade = [("", left_of(item, now)) for item in items if item.status not in MADE | UNMADE]
    left = wall_seconds(unmade, jobs=jobs)
    return f"~{clock(left)}" if left > 0 else ""
