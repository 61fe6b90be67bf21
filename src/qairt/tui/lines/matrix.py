"""Rows of the stage matrix: one per stage and AR, a column per split. No Textual here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qairt.amounts import short_age
from qairt.engine.axes import label
from qairt.engine.record.eta import done_of, is_blended, is_overdue, left_of, wall_seconds
from qairt.engine.record.item_state import BUSY, MADE, UNMADE, ItemState, ItemStatus
from qairt.engine.record.state import RunState

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
    """`62%` as reported by its tool, `~62%` as estimated from the time; empty unless it runs."""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """The items of one stage that differ only in their split."""

    stage: str
    name: str
    """The stage's name without control characters."""
    place: str
    """Position on the other axes: `128`, or `4096/128`."""
    cells: tuple[Cell | None, ...]
    """By column; None where there is no item."""
    done: int
    total: int
    time: str
    """Total time of its finished items."""
    left: str
    """Estimated time left, or `cached`, `stale`, `overdue`, `1 failed`."""
    inputs: tuple[object, ...]
    """What the row was built from; a row without running items is rebuilt only when this differs."""

    @property
    def id(self) -> tuple[str, str]:
        """Identifies the row."""
        return self.stage, self.place

    @property
    def keys(self) -> list[ItemKey]:
        """Keys of its items."""
        return [cell.key for cell in self.cells if cell is not None]

    def has(self, *statuses: ItemStatus) -> bool:
        """Whether one of its items has one of these statuses."""
        return any(cell is not None and cell.status in statuses for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Matrix:
    """All rows, in stage order."""

    axes: str
    """Heading of the rows' positions: `AR`, or `CL/AR`."""
    columns: tuple[int, ...]
    """Split numbers; empty if no stage is split."""
    rows: tuple[MatrixRow, ...]
    items: tuple[tuple[ItemState | None, ...], ...] = ()
    """Of each row, by column."""
    _source: tuple[int, str, int] = (0, "", 0)

    @property
    def width(self) -> int:
        """Columns per row; one if there are no splits."""
        return max(len(self.columns), 1)


EMPTY = Matrix("", (), ())


def matrix_rows(state: RunState, now: float, before: Matrix = EMPTY) -> Matrix:
    """The matrix of a run at `now`. Unchanged rows of `before` are reused, as the same objects."""
    first = next(iter(state.items.values()), None)
    source = (id(first), state.run_id, len(state.items))
    grid = before if before._source == source else _arranged(state, source)
    jobs = state.jobs
    rows = tuple(
        row
        if row.inputs == (inputs := _row_inputs(items, now)) and not row.has(*BUSY)
        else _filled(row, items, inputs, now, jobs)
        for row, items in zip(grid.rows, grid.items, strict=True)
    )
    return Matrix(grid.axes, grid.columns, rows, grid.items, source)


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


def _arranged(state: RunState, source: tuple[int, str, int]) -> Matrix:
    """Where each item is; the rows' texts are filled in afterwards."""
    items = state.items.values()
    columns = sorted({value for item in items for axis, value in item.coord if axis == COLUMN_AXIS})
    shown = _row_axes(items)
    by_row: dict[tuple[str, str], dict[int, ItemState]] = {}
    order = {stage: number for number, stage in enumerate(state.stages())}
    for item in items:
        coord = dict(item.coord)
        column = columns.index(coord[COLUMN_AXIS]) if COLUMN_AXIS in coord else 0
        row = (item.stage, plain(item.label) if _is_named(item) else _place(coord, shown))
        if column in by_row.get(row, {}) or (not coord and item.label != "all"):
            row = (item.stage, plain(item.label))
        by_row.setdefault(row, {})[column] = item
    width = max(len(columns), 1)
    rows, places = [], []
    for stage, place in sorted(by_row, key=lambda each: order[each[0]]):
        rows.append(MatrixRow(stage, plain(stage), place, (), 0, 0, "", "", ()))
        places.append(tuple(by_row[stage, place].get(column) for column in range(width)))
    heading = "/".join(axis.upper() for axis in shown)
    return Matrix(plain(heading), tuple(columns), tuple(rows), tuple(places), source)


def _row_axes(items: Iterable[ItemState]) -> list[str]:
    """Axes that distinguish rows; one with a single value does not."""
    values: dict[str, set[int]] = {}
    for item in items:
        for axis, value in () if _is_named(item) else item.coord:
            values.setdefault(axis, set()).add(value)
    return [axis for axis in values if axis != COLUMN_AXIS and (axis == _ALWAYS_NAMED or len(values[axis]) > 1)]


def _is_named(item: ItemState) -> bool:
    """Whether it has a name of its own, and not that of its coordinate."""
    return bool(item.coord) and item.label != label(item.coord)


def _place(coord: dict[str, int], shown: list[str]) -> str:
    if not any(axis in coord for axis in shown):
        return ""
    return "/".join(str(coord.get(axis, "-")) for axis in shown)


def _row_inputs(items: tuple[ItemState | None, ...], now: float) -> tuple[object, ...]:
    cleared = _cleared([item for item in items if item], now)
    return (*[item and item.status for item in items], sum([item.seconds for item in items if item]), cleared)


def _cleared(items: Iterable[ItemState], now: float) -> str:
    """`cleared 2 min ago`, the latest of them; empty if none is."""
    latest = max([item.cleared or 0.0 for item in items if item.status == "cleared"], default=0.0)
    return f"cleared {short_age(now - latest)} ago" if latest else ""


def _filled(
    row: MatrixRow, items: tuple[ItemState | None, ...], inputs: tuple[object, ...], now: float, jobs: int
) -> MatrixRow:
    there = [item for item in items if item is not None]
    cells = tuple(
        None if item is None else Cell((item.stage, item.label), item.status, percent(item, now)) for item in items
    )
    work = [item for item in there if item.status != "on_demand"]
    done = sum(item.status in MADE for item in work)
    seconds = sum(item.seconds for item in there if item.status in ("done", "warn", "failed"))
    time = clock(seconds) if seconds else ""
    return MatrixRow(row.stage, row.name, row.place, cells, done, len(work), time, time_left(there, now, jobs), inputs)


def percent(item: ItemState, now: float) -> str:
    """`62%` as its tool reports it, `~62%` as estimated from the time; empty unless it runs and one is known."""
    if item.status not in ("running", "quiet") or item.started is None:
        return ""
    text = f"{min(int(100 * done_of(item, now)), 99)}%"
    if item.fraction > 0 and not is_blended(item):
        return text
    return f"~{text}" if item.expected_seconds else ""


def time_left(items: list[ItemState], now: float, jobs: int) -> str:
    """The time that items still take together, or what stands in its place: `cached`, `1 failed`."""
    statuses = {item.status for item in items}
    failed = sum(item.status == "failed" for item in items)
    if failed:
        return f"{failed} failed"
    if "blocked" in statuses:
        return "blocked"
    if statuses == {"cached"}:
        return "cached"
    if statuses == {"on_demand"}:
        return "on demand"
    if "cleared" in statuses and not statuses & BUSY:
        return _cleared(items, now) or "cleared"
    if "stale" in statuses and not statuses & BUSY:
        return "stale"
    if any(is_overdue(item, now) for item in items):
        return "overdue"
    unmade = [("", left_of(item, now)) for item in items if item.status not in MADE | UNMADE]
    left = wall_seconds(unmade, jobs=jobs)
    return f"~{clock(left)}" if left > 0 else ""
