"""Text of the "why" view of one item: its key then and now, what differs, what depends on it. No widgets here."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.cells import cell_len

from qairt.amounts import age, count, size
from qairt.engine.cache.sentences import when_cleared
from qairt.engine.plan.why import Difference, KeyDiff
from qairt.tui.lines.matrix import plain
from qairt.tui.lines.plan import spread
from qairt.tui.lines.runs import cut
from qairt.tui.terminal.glyphs import Look

_TITLES = ("  FIELD", "CACHED", "NOW", "FROM")
_GAP = 2
_MIN_WIDTH = 8


def head_lines(diff: KeyDiff, now: float, look: Look) -> list[str]:
    """The item, its root cause, and its key now and in its latest cache entry."""
    item = diff.item
    if item.cached:
        state = f"{look.mark('cached')} cached: the next run reuses it"
    elif item.on_demand:
        state = f"{look.mark('on_demand')} on demand: nothing needs it"
    elif item.cleared is not None:
        state = f"{look.mark('cleared')} {when_cleared(item.cleared, now, 'z')}"
    elif item.stale:
        state = f"{look.mark('stale')} stale"
    else:
        state = f"{look.mark('waiting')} new"
    root = f"   root cause: {plain(diff.root)}" if diff.root and item.cleared is None else ""
    if diff.cached_key:
        same = "=" if diff.cached_key == item.key else "≠"
        built = f"built {_ago(diff.cached_at, now)}, {size(diff.cached_bytes)}"
        keys = f"key  {item.key[:8]} now   {same}   {diff.cached_key[:8]} {built}"
    elif item.cleared is not None:
        keys = f"key  {item.key[:8]} now   =   that of the cleared result"
    else:
        keys = f"key  {item.key[:8]} now; never built before"
    return [look.text(f"why  {plain(item.name)}   {state}{root}"), look.text(keys)]


def rows_of(diff: KeyDiff, *, everything: bool) -> list[Difference]:
    """The differences; with `everything`, or if there are none, also unchanged values."""
    return [*diff.rows, *(diff.same if everything or not diff.rows else ())]


def laid_out(rows: list[Difference], width: int, look: Look) -> tuple[str, list[str]]:
    """The heading and one line per row; the widest columns are cut first."""
    texts = [_cells(row, look) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(_TITLES, *texts, strict=True)]
    while sum(widths) + _GAP * 3 > width and max(widths) > _MIN_WIDTH:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for cells in (_TITLES, *texts):
        fitted = [cut(text, room, look) for text, room in zip(cells, widths, strict=True)]
        padded = [text + " " * (room - cell_len(text)) for text, room in zip(fitted, widths, strict=True)]
        lines.append((" " * _GAP).join(padded).rstrip())
    return lines[0], lines[1:]


def below_lines(diff: KeyDiff, expected: tuple[float, float, float], *, everything: bool, look: Look) -> list[str]:
    """What depends on the item, how long building it takes, and how many values are unchanged."""
    found = []
    if diff.downstream:
        more = f" and {len(diff.downstream) - 4} more" if len(diff.downstream) > 4 else ""
        found.append(f"needed by: {', '.join(plain(name) for name in diff.downstream[:4])}{more}")
    if not diff.item.cached and expected[0]:
        found.append(f"building it takes {spread(*expected)}")
    if diff.rows and diff.same and not everything:
        found.append(f"{count(len(diff.same), 'value')} unchanged (A shows them)")
    return [look.text(line) for line in found]


def full(row: Difference, look: Look) -> str:
    """One row, uncut."""
    preposition = "" if row.field.startswith("input ") or row.origin.startswith("computed ") else "from "
    where = f"   {preposition}{plain(row.origin)}" if row.origin else ""
    values = plain(row.now) if row.same else f"{plain(row.cached) or '(empty)'} → {plain(row.now) or '(empty)'}"
    return look.text(f"{plain(row.field)}: {values}{where}")


def as_text(diff: KeyDiff, now: float, expected: tuple[float, float, float], *, everything: bool) -> str:
    """Everything, uncut, for the clipboard."""
    look = Look()
    heading, lines = laid_out(rows_of(diff, everything=everything), 10_000, look)
    below = below_lines(diff, expected, everything=everything, look=look)
    return "\n".join([*head_lines(diff, now, look), "", heading, *lines, "", *below]).rstrip() + "\n"


def _cells(row: Difference, look: Look) -> list[str]:
    mark = "=" if row.same else look.mark("stale")
    return [look.text(text) for text in (f"{mark} {plain(row.field)}", plain(row.cached), plain(row.now), _from(row))]


def _from(row: Difference) -> str:
    file, colon, line = row.origin.rpartition(":")
    return plain(f"{Path(file).name}:{line}" if colon and line.isdecimal() else row.origin)


def _ago(timestamp: str, now: float) -> str:
    try:
        return f"{age(now - datetime.fromisoformat(timestamp).timestamp())} ago"
    except ValueError:
        return "at an unknown time"
