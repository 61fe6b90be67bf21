"""The content of a cache directory as lines: stages with their entries. No Textual here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rich.cells import cell_len

from qairt.amounts import age, count, duration, size
from qairt.engine.cache.clearing import short_names
from qairt.engine.cache.entry import Entry
from qairt.engine.cache.journal import Moved
from qairt.engine.cache.store import Store
from qairt.tui.lines.runs import cut, plain
from qairt.tui.terminal.glyphs import Look

_WIDTHS = {"on disk": 9, "took": 13, "age": 12, "key": 10, "used by": 16}
"""Columns after the item; the last ones are left out if they do not fit."""
_ITEM_MIN = 18
_ITEM_MAX = 40


@dataclass(frozen=True)
class CacheContent:
    """What is in a cache directory."""

    entries: Sequence[Entry]
    users: Mapping[str, Sequence[str]]
    """By key: the recipes whose latest runs used it."""
    by_key: Mapping[str, int]
    """Bytes that each entry takes; see `Store.bytes_by_key`."""
    on_disk: int
    trash: Sequence[Moved]
    """Cleared entries that are not deleted yet."""
    trash_bytes: int
    undoable: Sequence[Moved]
    """What an undo restores."""


@dataclass(frozen=True)
class CacheRow:
    """A stage, or one entry of it."""

    stage: str
    entries: tuple[Entry, ...]
    """The stage's entries that are shown, or the one entry."""
    is_stage: bool

    @property
    def id(self) -> tuple[str, str]:
        """Identifies the row."""
        return self.stage, "" if self.is_stage else self.entries[0].key


def read_cache(store: Store) -> CacheContent:
    """Read the cache directory. Slow where it is large or remote."""
    users = store.recipes_by_key()
    paths = sorted({path for found in users.values() for path in found})
    names = dict(zip(paths, short_names(paths), strict=True))
    return CacheContent(
        entries=store.entries(),
        users={key: [names[path] for path in found] for key, found in users.items()},
        by_key=store.bytes_by_key(),
        on_disk=store.bytes_on_disk(),
        trash=store.trash.entries(),
        trash_bytes=store.bytes_in_trash(),
        undoable=store.trash.undoable(),
    )


CacheOrder = Literal["stage", "size", "took", "age"]
ORDERS: tuple[CacheOrder, ...] = ("stage", "size", "took", "age")


def cache_rows(content: CacheContent, pattern: str = "", order: CacheOrder = "stage") -> list[CacheRow]:
    """Every stage, followed by its entries that contain `pattern`. Sorted, stages and their entries have the largest,
    slowest or oldest first."""
    by_stage: dict[str, list[Entry]] = {}
    for entry in content.entries:
        text = f"{entry.stage} {entry.label} {entry.key} {' '.join(content.users.get(entry.key, ()))}"
        if pattern.lower() in text.lower():
            by_stage.setdefault(entry.stage, []).append(entry)
    if order != "stage":
        value = _value(order, content)
        for entries in by_stage.values():
            entries.sort(key=value, reverse=True)
        worth = {stage: _worth(order, [value(entry) for entry in entries]) for stage, entries in by_stage.items()}
        by_stage = {stage: by_stage[stage] for stage in sorted(by_stage, key=lambda each: -worth[each])}
    rows: list[CacheRow] = []
    for stage, entries in by_stage.items():
        rows.append(CacheRow(stage, tuple(entries), True))
        rows += [CacheRow(stage, (entry,), False) for entry in entries]
    return rows


def _value(order: CacheOrder, content: CacheContent) -> Callable[[Entry], float]:
    """What entries are sorted by."""
    if order == "size":
        return lambda entry: content.by_key.get(entry.key, 0)
    return (lambda entry: entry.seconds) if order == "took" else lambda entry: -_made_at(entry)


def _worth(order: CacheOrder, values: Sequence[float]) -> float:
    """Of a whole stage: its oldest entry, or the sum of its entries."""
    return max(values) if order == "age" else sum(values)


def _made_at(entry: Entry) -> float:
    """Seconds since the epoch; 0 if its record is damaged."""
    try:
        return datetime.fromisoformat(entry.timestamp).timestamp()
    except ValueError:
        return 0.0


def cache_lines(
    rows: Sequence[CacheRow], content: CacheContent, used: Collection[str] | None, look: Look, *, width: int, now: float
) -> tuple[str, list[str]]:
    """The column headings, and one line per row.

    Args:
        used: keys that the current recipe uses, whose rows are marked; None if not known.
    """
    columns = dict(_WIDTHS)
    longest = max((cell_len(_name(row, used, look)) for row in rows), default=0)
    item = min(max(longest, _ITEM_MIN), _ITEM_MAX)
    while columns and item + sum(columns.values()) > width:
        columns.popitem()
    if "used by" in columns:
        columns["used by"] = width - item - sum(columns.values()) + columns["used by"]
    item = min(item, max(width - sum(columns.values()), 1))

    def line(name: str, cells: Mapping[str, str]) -> str:
        text = _fitted(name, item, look)
        for column, room in columns.items():
            right = column in ("on disk", "took", "age")
            text += "  " * (not right) + _fitted(cells[column], room - 2 * (not right), look, right=right)
        return look.text(text.rstrip())

    heading = line("  stage and item", {column: column for column in _WIDTHS})
    return heading, [line(_name(row, used, look), _cells(row, content, now)) for row in rows]


def heading(content: CacheContent, rows: Sequence[CacheRow], where: str, pattern: str) -> str:
    """How many entries there are, how many are shown, and what was cleared."""
    shown = sum(not row.is_stage for row in rows)
    number = (
        f"{shown} of {len(content.entries)} entries" if pattern else count(len(content.entries), "entry", "entries")
    )
    trash = (
        f" · cleared: {size(content.trash_bytes)} in {count(len(content.trash), 'entry', 'entries')}"
        if content.trash
        else ""
    )
    return plain(f" cache · {number}, {size(content.on_disk)} on disk{trash} · {where}")


def detail(row: CacheRow, content: CacheContent, used: Collection[str] | None) -> str:
    """What the columns do not show of a row."""
    number = sum(entry.key in used for entry in row.entries) if used is not None else None
    if row.is_stage:
        whole = count(len(row.entries), "entry", "entries")
        return plain(
            f"{row.stage}: {whole}" if number is None else f"{row.stage}: this recipe uses {number} of {whole}"
        )
    (entry,) = row.entries
    facts = [] if number is None else ["used by this recipe" if number else "not used by this recipe"]
    users = content.users.get(entry.key, ())
    facts += [f"{size(entry.bytes)} alone"]
    facts += [f"used by the latest run of {', '.join(users)}"] if users else []
    return plain(" · ".join([*facts, str(entry.directory)]))


def _name(row: CacheRow, used: Collection[str] | None, look: Look) -> str:
    if row.is_stage:
        return plain(f"{row.stage} · {len(row.entries)}")
    mark = look.mark("cached") if used is not None and row.entries[0].key in used else " "
    return f"  {mark} {plain(row.entries[0].label)}"


def _cells(row: CacheRow, content: CacheContent, now: float) -> dict[str, str]:
    cells = {
        "on disk": size(sum(content.by_key.get(entry.key, 0) for entry in row.entries)),
        "took": duration(sum(entry.seconds for entry in row.entries)),
        "age": "",
        "key": "",
        "used by": "",
    }
    if not row.is_stage:
        (entry,) = row.entries
        cells |= {"age": _age(entry, now), "key": plain(entry.key[:8])}
        cells["used by"] = plain(", ".join(content.users.get(entry.key, ())))
    return cells


def _age(entry: Entry, now: float) -> str:
    try:
        built = datetime.fromisoformat(entry.timestamp)
    except ValueError:
        return "-"
    return age(now - (built if built.tzinfo else built.replace(tzinfo=UTC)).timestamp())


def _fitted(text: str, room: int, look: Look, *, right: bool = False) -> str:
    text = cut(look.text(text), room, look)
    pad = " " * (room - cell_len(text))
    return pad + text if right else text + pad
