"""The list of runs: as many columns as fit, plain text, Markdown. No Textual here."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from rich.cells import cell_len, set_cell_size

from qairt.amounts import age, count, size
from qairt.engine.record.item_state import ItemStatus
from qairt.engine.record.summary import RunSummary, SummaryState
from qairt.tui.lines.matrix import clock
from qairt.tui.terminal.glyphs import Look

GAP = 2
"""Cells between two columns."""
_RECIPE_MIN = 12
_DAY = 86400

STATUS: dict[SummaryState, ItemStatus] = {
    "running": "running",
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted",
    "unknown": "interrupted",
}
"""The item status whose glyph and colour a run's state uses."""


@dataclass(frozen=True)
class Column:
    """One column of the list."""

    title: str
    cell: Callable[[RunSummary, float, Look], str]
    right: bool = False
    measured: bool = False
    """Shown only if a run has a value for it."""


COLUMNS = (
    Column("ID", lambda run, now, look: plain(run.id)),
    Column("STATE", lambda run, now, look: state_text(run, look)),
    Column("RECIPE", lambda run, now, look: recipe_name(run)),
    Column("STARTED", lambda run, now, look: when(run.started, now)),
    Column("TIME", lambda run, now, look: _time(run, now), right=True),
    Column("CACHED", lambda run, now, look: _percent(run.cached_share), right=True),
    Column("PEAK", lambda run, now, look: size(run.peak_ram) if run.peak_ram else "-", right=True),
    Column("ON DISK", lambda run, now, look: size(run.bytes) if run.bytes else "-", right=True),
    Column("PPL", lambda run, now, look: _number(run, "ppl", 2), right=True, measured=True),
    Column("SQNR", lambda run, now, look: _number(run, "sqnr_db", 1), right=True, measured=True),
    Column("TOK/S", lambda run, now, look: _number(run, "tokens_per_second", 1), right=True, measured=True),
)
"""In order of priority."""


@dataclass(frozen=True)
class Table:
    """The list as it fits: every cell is padded to its column's width, including the gap."""

    titles: list[str]
    widths: list[int]
    rows: list[list[str]]


@dataclass(frozen=True)
class Order:
    """The column by which the list is sorted."""

    title: str = "STARTED"
    descending: bool = True

    def after(self, runs: Sequence[RunSummary], look: Look) -> Order:
        """The next column; texts from a to z, numbers from the largest."""
        titles = [column.title for column in _shown_columns(runs, look)]
        title = titles[(titles.index(self.title) + 1) % len(titles)] if self.title in titles else titles[0]
        return Order(title, title not in ("STATE", "RECIPE"))

    def reversed(self) -> Order:
        """The other way round."""
        return replace(self, descending=not self.descending)


_SORT_BY: dict[str, Callable[[RunSummary], tuple[object, ...]]] = {
    "ID": lambda run: (len(run.id), run.id),
    "STATE": lambda run: (run.state,),
    "RECIPE": lambda run: (recipe_name(run),),
    "STARTED": lambda run: (run.started or 0.0,),
    "TIME": lambda run: (run.seconds,),
    "CACHED": lambda run: (run.cached_share or 0.0,),
    "PEAK": lambda run: (run.peak_ram,),
    "ON DISK": lambda run: (run.bytes,),
    "PPL": lambda run: (run.metrics.get("ppl", float("-inf")),),
    "SQNR": lambda run: (run.metrics.get("sqnr_db", float("-inf")),),
    "TOK/S": lambda run: (run.metrics.get("tokens_per_second", float("-inf")),),
}


def in_order(runs: Sequence[RunSummary], order: Order) -> list[RunSummary]:
    """The runs sorted by one column; equal ones as they were."""
    return sorted(runs, key=_SORT_BY[order.title], reverse=order.descending)


def _shown_columns(runs: Sequence[RunSummary], look: Look) -> list[Column]:
    return [column for column in COLUMNS if not column.measured or any(_has(column, run, look) for run in runs)]


def table(
    runs: Sequence[RunSummary],
    now: float,
    look: Look,
    *,
    width: int,
    marked: Collection[str] = (),
    order: Order = Order(),
) -> Table:
    """As many columns as fit into `width`; the recipe's name is cut before a column is left out. A sign marks the
    column that the list is sorted by, unless that is the usual one."""
    columns = _shown_columns(runs, look)
    sign = look.text("▼" if order.descending else "▲")
    titles = {order.title: f"{order.title}{sign}"} if order != Order() else {}
    texts = [
        [titles.get(column.title, column.title), *(look.text(column.cell(run, now, look)) for run in runs)]
        for column in columns
    ]
    texts[0] = [f" {texts[0][0]}"] + [
        (look.text("●") if run.id in marked else " ") + text for run, text in zip(runs, texts[0][1:], strict=True)
    ]
    natural = [max(map(cell_len, column)) + GAP for column in texts]
    minimum = [
        min(natural_width, _RECIPE_MIN + GAP) if column.title == "RECIPE" else natural_width
        for column, natural_width in zip(columns, natural, strict=True)
    ]
    shown = next((n for n in range(len(columns), 2, -1) if sum(minimum[:n]) <= width), 2)
    widths = natural[:shown]
    if shown > 2:
        widths[2] = min(natural[2], minimum[2] + width - sum(minimum[:shown]))
    padded = [
        [_fitted(text, widths[i], columns[i].right, look) for text in column] for i, column in enumerate(texts[:shown])
    ]
    shown_titles, *rows = map(list, zip(*padded, strict=True))
    return Table(shown_titles, widths, rows)


def as_text(runs: Sequence[RunSummary], now: float, look: Look) -> str:
    """The whole list, every column."""
    whole = table(runs, now, look, width=10_000)
    return "\n".join("".join(row).rstrip() for row in (whole.titles, *whole.rows)) + "\n"


def as_markdown(runs: Sequence[RunSummary], now: float) -> str:
    """The whole list as a Markdown table, including failures."""
    look = Look()
    rows = [[column.title for column in COLUMNS] + ["FAILED"], ["---"] * (len(COLUMNS) + 1)]
    rows += [[column.cell(run, now, look) for column in COLUMNS] + [failure(run)] for run in runs]
    return "\n".join(markdown_row(row) for row in rows) + "\n"


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"


def state_text(run: RunSummary, look: Look) -> str:
    """Glyph and word: `✓ done`."""
    return f"{look.mark(STATUS[run.state])} {run.state}"


def recipe_name(run: RunSummary) -> str:
    return plain(PurePath(run.recipe).stem) or "-"


def failure(run: RunSummary) -> str:
    """`quantize all and 2 more: it was killed`; empty when nothing failed."""
    if not run.failed:
        return ""
    more = f" and {len(run.failed) - 1} more" if len(run.failed) > 1 else ""
    return plain(f"{run.failed[0]}{more}: {run.failure}" if run.failure else f"{run.failed[0]}{more}")


def detail(run: RunSummary, now: float) -> str:
    """What the columns do not show, in one line."""
    where = f" on {plain(run.host)}, process {run.pid}" if run.host and run.state in ("running", "unknown") else ""
    done = f"{run.made} of {count(run.items, 'item')} built or reused" if run.items else "no items recorded"
    failed = f"; failed: {failure(run)}" if run.failed else ""
    recipe = f"; {plain(run.recipe)}" if run.recipe else ""
    return f"{plain(run.id)}{where}: {done}{failed}{recipe}"


def when(moment: float | None, now: float) -> str:
    """`today 21:32`, `3 days ago`, `2026-01-31`, in local time."""
    if moment is None:
        return "-"
    local, today = time.localtime(moment), time.localtime(now)
    if local[:3] == today[:3]:
        return time.strftime("today %H:%M", local)
    ago = now - moment
    return f"{age(ago)} ago" if 0 <= ago < 31 * _DAY else time.strftime("%Y-%m-%d", local)


def plain(text: str) -> str:
    """`text` on one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def cut(text: str, width: int, look: Look) -> str:
    """`text` in at most `width` columns; an ellipsis marks a cut."""
    if cell_len(text) <= width:
        return text
    dots = look.text("…")
    return set_cell_size(text, width - len(dots)) + dots if width > len(dots) else set_cell_size(text, max(width, 0))


# Inside


def _fitted(text: str, width: int, right: bool, look: Look) -> str:
    room = width - GAP
    text = cut(text, room, look)
    pad = " " * (room - cell_len(text))
    return (pad + text if right else text + pad) + " " * GAP


def _time(run: RunSummary, now: float) -> str:
    live = run.state == "running" and run.started is not None
    seconds = max(now - run.started, 0.0) if live and run.started is not None else run.seconds
    return clock(seconds) if seconds else "-"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _number(run: RunSummary, name: str, digits: int) -> str:
    value = run.metrics.get(name)
    return "-" if value is None else f"{value:.{digits}f}"


def _has(column: Column, run: RunSummary, look: Look) -> bool:
    return column.cell(run, 0.0, look) != "-"
