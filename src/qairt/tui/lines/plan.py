"""Text of the plan screen: a row per stage and AR, totals, causes, what exceeds the memory limit. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from rich.cells import cell_len

from qairt.amounts import count, size
from qairt.engine.cache.sentences import when_cleared
from qairt.engine.plan.announce import planned_entries
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.plan.why import Summary
from qairt.engine.record.eta import Eta, in_words, remaining, wall_seconds
from qairt.engine.record.item_state import ItemState, ItemStatus
from qairt.engine.record.state import RunState
from qairt.errors import QairtError, RecipeError
from qairt.tui.lines.matrix import clock, matrix_rows, plain
from qairt.tui.lines.runs import cut
from qairt.tui.terminal.glyphs import Look

Verdict = Literal["hit", "run", "new", "cleared", "on demand"]
STATUS: dict[Verdict, ItemStatus] = {
    "hit": "cached",
    "run": "stale",
    "new": "waiting",
    "cleared": "cleared",
    "on demand": "on_demand",
}
"""The item status whose mark and colour a verdict uses."""

_WIDE, _NARROW = 90, 60
"""Widths from which sizes and ranges are shown, and below which there is room for neither time nor RAM."""
_STAGE_MIN = 10
_NOTES = 3


@dataclass(frozen=True)
class PlanRow:
    """The items of one stage at one AR."""

    stage: str
    name: str
    """The stage's name without control characters."""
    place: str
    verdict: Verdict
    items: tuple[PlannedItem, ...]
    to_run: int
    causes: tuple[str, ...]
    """The first root cause in full, then shorter versions."""
    reason: str
    """The full chain of changes."""
    seconds: float
    low: float
    high: float
    peak_ram: int
    bytes: int

    @property
    def first(self) -> PlannedItem:
        """The first item that runs, or the first if none does."""
        return next((item for item in self.items if not item.cached), self.items[0])


@dataclass(frozen=True)
class PlanTable:
    """A plan as rows."""

    axes: str
    rows: tuple[PlanRow, ...]
    eta: Eta
    peak_ram: int
    order: str = ""
    """Title of the column that the rows are sorted by; empty for the order of the stages."""


@dataclass(frozen=True)
class RecipeFault:
    """An error in the recipe."""

    where: str
    what: str
    remedy: str
    file: str
    line: int
    """0 if not known."""


def plan_table(plan: Plan, *, jobs: int, memory: int = 0, folded: Collection[str] = ()) -> PlanTable:
    """Rows and totals of a plan; stages in `folded` have one row.

    Times are wall times with `jobs` items running at once, in `memory` bytes together (0: no limit).
    """
    state = RunState.of_plan(planned_entries(plan))
    found = {(item.stage.name, item.label): item for item in plan.items}
    matrix = matrix_rows(state, 0.0)
    rows = []
    for stage, of_stage in groupby(matrix.rows, key=lambda row: row.stage):
        own = list(of_stage)
        groups = [own] if stage in folded and len(own) > 1 else [[row] for row in own]
        for group in groups:
            keys = [key for row in group for key in row.keys]
            place = group[0].place if len(group) == 1 else "all"
            items = tuple(found[key] for key in keys)
            rows.append(_row(stage, group[0].name, place, items, [state.items[key] for key in keys], jobs))
    left = [item for item in state.items.values() if item.status not in ("cached", "on_demand")]
    return PlanTable(
        axes=matrix.axes,
        rows=tuple(rows),
        eta=remaining(state, 0.0, jobs=jobs, memory=memory),
        peak_ram=max((item.expected_ram for item in left), default=0),
    )


def _row(
    stage: str, name: str, place: str, items: tuple[PlannedItem, ...], states: list[ItemState], jobs: int
) -> PlanRow:
    to_run = [item for item in items if item.runs]
    left = [each for each in states if each.status not in ("cached", "on_demand")]
    idle: Verdict = "on demand" if any(item.on_demand for item in items) else "hit"
    verdict: Verdict = idle if not to_run else "run" if any(item.stale for item in to_run) else "new"
    verdict = "cleared" if any(item.cleared is not None for item in to_run) else verdict
    first = to_run[0] if to_run else None
    seconds, low, high = _walls(left, jobs)
    return PlanRow(
        stage=stage,
        name=name,
        place=place,
        verdict=verdict,
        items=items,
        to_run=len(to_run),
        causes=_causes(first),
        reason=plain(first.why) if first is not None else "",
        seconds=seconds,
        low=low,
        high=high,
        peak_ram=max((item.peak_ram for item in to_run), default=0),
        bytes=sum(item.bytes for item in items if not item.on_demand),
    )


def _causes(item: PlannedItem | None) -> tuple[str, ...]:
    if item is None or item.cause is None:
        return ("",)
    if item.cleared is not None:
        whole = when_cleared(item.cleared, time.time(), "z")
        return whole, whole.partition(" · ")[0]
    if item.stored is not None:
        return plain(item.why), "in the store"
    whole = plain(item.cause.text)
    field = plain(item.cause.leaves[0].field) if item.cause.leaves else ""
    last = field.rpartition(".")[2]
    return whole, whole.removeprefix("stages."), f"{last}{whole.removeprefix(field)}"


def _walls(items: list[ItemState], jobs: int) -> tuple[float, float, float]:
    """Expected wall time of items and its range; an item that never ran adds nothing to the range."""
    return (
        wall_seconds([(item.stage, item.expected_seconds) for item in items], jobs=jobs),
        wall_seconds([(item.stage, item.expected_low or item.expected_seconds) for item in items], jobs=jobs),
        wall_seconds([(item.stage, item.expected_high or item.expected_seconds) for item in items], jobs=jobs),
    )


def head_lines(name: str, cache: str, plan: PlanTable, summary: Summary, memory: int, look: Look) -> list[str]:
    """Two lines above the table: the recipe and its cache, and the totals."""
    counts = [f"{count(summary.items, 'item')}: {summary.cached} cached {look.mark('cached')}"]
    cleared = sum(item.cleared is not None for row in plan.rows for item in row.items)
    if summary.stale > cleared:
        counts.append(f"{summary.stale - cleared} stale {look.mark('stale')}")
    if cleared:
        counts.append(f"{cleared} cleared {look.mark('cleared')}")
    if summary.new:
        counts.append(f"{summary.new} new")
    if summary.on_demand:
        counts.append(f"{summary.on_demand} on demand {look.mark('on_demand')}")
    if summary.cached == summary.items:
        counts.append("nothing to run")
    else:
        counts.append(in_words(plan.eta))
        counts.append(f"peak {size(plan.peak_ram)}" + (f" of {size(memory)}" if memory else ""))
    return [look.text(f"plan  {plain(name)}   cache {plain(cache)}"), look.text(" · ".join(counts))]


def spread(seconds: float, low: float, high: float) -> str:
    """`~1h05m (45m00-1h30m)`; without the range if it is not known."""
    if not seconds:
        return "-"
    return f"~{clock(seconds)} ({clock(low)}-{clock(high)})" if 0 < low < high else f"~{clock(seconds)}"


def titles(table: PlanTable, width: int) -> list[str]:
    """The columns that fit into `width`; a sign marks the one that the rows are sorted by."""
    found = ["STAGE", table.axes or "AR", "PLAN", "RUN", "WHY (first cause)", "TIME", "RAM", "ON DISK"]
    return _that_fit([f"▼{title}" if title == table.order else title for title in found], width)


_SORT_BY: dict[str, Callable[[PlanRow], float]] = {
    "TIME": lambda row: row.seconds,
    "RAM": lambda row: row.peak_ram,
    "ON DISK": lambda row: row.bytes,
}


def next_order(order: str, width: int) -> str:
    """The column to sort by after `order`, of those that fit into `width`; empty for the order of the stages."""
    orders = ["", *(title for title in _that_fit(["", "", "", "", "", *_SORT_BY], width) if title)]
    return orders[(orders.index(order) + 1) % len(orders)] if order in orders else ""


def in_order(table: PlanTable, order: str) -> PlanTable:
    """The rows with the most of a column first; those that are equal stay in the order of the stages."""
    if not order:
        return table
    return replace(table, rows=tuple(sorted(table.rows, key=_SORT_BY[order], reverse=True)), order=order)


def _that_fit(columns: list[str], width: int) -> list[str]:
    return columns if width >= _WIDE else columns[:7] if width >= _NARROW else columns[:5]


def cells(row: PlanRow, width: int, look: Look) -> list[str]:
    """The cells of one row."""
    runs = row.to_run > 0
    mark = "~" if runs else ""
    time = spread(row.seconds, *((row.low, row.high) if width >= _WIDE else (0, 0)))
    found = [  # in the order of `titles`
        row.name,
        row.place or "-",
        f"{look.mark(STATUS[row.verdict])} {row.verdict}",
        f"{row.to_run}/{len(row.items)}",
        look.text(row.causes[0]),
        time if runs else "-",
        f"{mark}{size(row.peak_ram)}" if runs else "-",
        f"{mark}{size(row.bytes)}" if row.bytes else "-",
    ]
    return _that_fit(found, width)


_RIGHT = frozenset({1, 3, 5, 6, 7})
_WHY = 4


def laid_out(table: PlanTable, width: int, look: Look) -> tuple[str, list[list[str]]]:
    """The heading and the cells of every row, padded to `width`; reasons are cut first, then stage names."""
    heading = titles(table, width)
    rows = [cells(row, width, look) for row in table.rows]
    widths = [max(map(cell_len, column)) for column in zip(heading, *rows, strict=True)]
    room = width - sum(widths) + widths[_WHY] - 2 * (len(widths) - 1)
    widths[_WHY] = max(room, 6)
    if room < 6:
        widths[0] = max(_STAGE_MIN, widths[0] + room - 6)
    for row, texts in zip(table.rows, rows, strict=True):
        causes = [look.text(cause) for cause in row.causes]
        texts[_WHY] = next((cause for cause in causes if cell_len(cause) <= widths[_WHY]), causes[-1])
    heading = [look.text(title) for title in heading]
    return "".join(_padded(heading, widths, look)), [_padded(row, widths, look) for row in rows]


def _padded(row: list[str], widths: list[int], look: Look) -> list[str]:
    found = []
    for place, (text, width) in enumerate(zip(row, widths, strict=True)):
        shown = cut(text, width, look)
        pad = " " * (width - cell_len(shown))
        gap = "" if place == len(row) - 1 else "  "
        found.append((pad + shown if place in _RIGHT else shown + pad) + gap)
    return found


def below_lines(table: PlanTable, summary: Summary, memory: int, look: Look) -> list[str]:
    """Text below the table: root causes, what reverting them would save, what exceeds the memory limit."""
    is_first = all(root.cause.kind == "new" for root in summary.root_causes)  # nothing to explain
    causes = [] if is_first else summary.lines()
    found = [f"Root cause{'' if len(summary.root_causes) == 1 else 's'}: {causes[0]}", *causes[1:]] if causes else []
    for row in table.rows:
        if memory and row.peak_ram > memory:
            name = f"{row.name} {row.place}".strip()
            found.append(f"! {name} is expected to need {size(row.peak_ram)}; the limit is {size(memory)}")
        elif memory and row.to_run > 1 and 2 * row.peak_ram > memory:
            name = f"{row.name} {row.place}".strip()
            found.append(f"! {name}: one item at a time, {size(row.peak_ram)} each of {size(memory)}")
    return [look.text(plain(line)) for line in found]


def note_lines(notes: Sequence[str], look: Look) -> list[str]:
    """What else the user should know, such as tensors of the model that stay unused: a line for each note."""
    return [look.text(plain(f"Note: {note}")) for note in notes]


def first_lines(lines: Sequence[str], width: int, look: Look) -> list[str]:
    """As many lines as there is room for below the table, each cut to `width`; the last says how many are left."""
    shown = [cut(line, width, look) for line in lines[:_NOTES]]
    left = len(lines) - len(shown)
    return [*shown, cut(f"{left} more: press y to copy them all", width, look)] if left else shown


def faults_of(error: QairtError) -> list[RecipeFault]:
    """Every fault, with file and line separated."""
    several = error.faults if isinstance(error, RecipeError) and error.faults else [error]
    return [_fault(each) for each in several]


def _fault(error: QairtError) -> RecipeFault:
    where = error.where or ""
    file, colon, line = where.rpartition(":")
    has_line = bool(colon) and line.isdecimal()
    shown = f"{Path(file).name}:{line}" if has_line else where
    return RecipeFault(
        where=plain(shown),
        what=plain(error.what),
        remedy=plain(error.remedy or ""),
        file=file if has_line else "",
        line=int(line) if has_line else 0,
    )


def as_text(head: list[str], table: PlanTable, below: list[str]) -> str:
    """The whole plan, uncut, for the clipboard."""
    heading, rows = laid_out(table, 250, Look())
    lines = [*head, "", heading.rstrip(), *("".join(row).rstrip() for row in rows), "", *below]
    return "\n".join(lines).rstrip() + "\n"
