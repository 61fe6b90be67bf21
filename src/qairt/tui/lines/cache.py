"""What a cache directory holds, as lines: stages with their entries below them. Pure; knows nothing of Textual."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.cells import cell_len

from qairt.amounts import age, count, duration, size
from qairt.engine.cache.clearing import short_names
from qairt.engine.cache.entry import Entry
from qairt.engine.cache.store import Store
from qairt.engine.cache.trash import Moved
from qairt.tui.lines.runs import cut, plain
from qairt.tui.terminal.glyphs import Look

_WIDTHS = {"size": 9, "took": 13, "age": 12, "key": 10, "used by": 16}
"""Columns after the item; those that do not fit are left out, the last one first."""
_ITEM_LEAST = 18
_ITEM_MOST = 40


@dataclass(frozen=True)
class Kept:
    """What is in a cache directory."""

    entries: Sequence[Entry]
    users: Mapping[str, Sequence[str]]
    """Names of the recipes that used a key when they ran last."""
    on_disk: int
    trash: Sequence[Moved]
    """What was cleared and not deleted yet."""
    trash_bytes: int
    undoable: Sequence[Moved]
    """What an undo brings back."""


@dataclass(frozen=True)
class CacheRow:
    """A stage, or one entry of it."""

    stage: str
    entries: tuple[Entry, ...]
    """Of the stage those that are shown; of an entry itself."""
    is_stage: bool

    @property
    def id(self) -> tuple[str, str]:
        """The row among all rows."""
        return self.stage, "" if self.is_stage else self.entries[0].key


def read_kept(store: Store) -> Kept:
    """Look through the cache directory; takes a while where it is big or far away."""
    users = store.recipes_by_key()
    paths = sorted({path for found in users.values() for path in found})
    names = dict(zip(paths, short_names(paths), strict=True))
    return Kept(
        entries=store.entries(),
        users={key: [names[path] for path in found] for key, found in users.items()},
        on_disk=store.bytes_on_disk(),
        trash=store.trash.entries(),
        trash_bytes=store.bytes_in_trash(),
        undoable=store.trash.undoable(),
    )


def cache_rows(kept: Kept, wanted: str = "") -> list[CacheRow]:
    """Every stage and below it its entries that contain a text."""
    by_stage: dict[str, list[Entry]] = {}
    for entry in kept.entries:
        searched = f"{entry.stage} {entry.label} {entry.key} {' '.join(kept.users.get(entry.key, ()))}"
        if wanted.lower() in searched.lower():
            by_stage.setdefault(entry.stage, []).append(entry)
    rows: list[CacheRow] = []
    for stage, entries in by_stage.items():
        rows.append(CacheRow(stage, tuple(entries), True))
        rows += [CacheRow(stage, (entry,), False) for entry in entries]
    return rows


def cache_lines(
    rows: Sequence[CacheRow], kept: Kept, used: Collection[str] | None, look: Look, *, width: int, now: float
) -> tuple[str, list[str]]:
    """The heading of the columns, and a line for each row.

    Args:
        used: keys that the recipe at hand uses as it is now; their rows are marked. None: not known.
    """
    columns = dict(_WIDTHS)
    longest = max((cell_len(_name(row, used, look)) for row in rows), default=0)
    item = min(max(longest, _ITEM_LEAST), _ITEM_MOST)
    while columns and item + sum(columns.values()) > width:
        columns.popitem()
    if "used by" in columns:
        columns["used by"] = width - item - sum(columns.values()) + columns["used by"]
    item = min(item, max(width - sum(columns.values()), 1))

    def line(name: str, cells: Mapping[str, str]) -> str:
        text = _fitted(name, item, look)
        for column, room in columns.items():
            right = column in ("size", "took", "age")
            text += "  " * (not right) + _fitted(cells[column], room - 2 * (not right), look, right=right)
        return look.text(text.rstrip())

    heading = line("  stage and item", {column: column for column in _WIDTHS})
    return heading, [line(_name(row, used, look), _cells(row, kept, now)) for row in rows]


def heading(kept: Kept, rows: Sequence[CacheRow], where: str, wanted: str) -> str:
    """How much is kept, how much of it is shown, and what was cleared."""
    shown = sum(not row.is_stage for row in rows)
    number = f"{shown} of {len(kept.entries)} entries" if wanted else count(len(kept.entries), "entry", "entries")
    trash = (
        f" · cleared: {size(kept.trash_bytes)} in {count(len(kept.trash), 'entry', 'entries')}" if kept.trash else ""
    )
    return plain(f" cache · {number}, {size(kept.on_disk)} on disk{trash} · {where}")


def detail(row: CacheRow, kept: Kept, used: Collection[str] | None) -> str:
    """What the columns do not say of a row."""
    number = sum(entry.key in used for entry in row.entries) if used is not None else None
    if row.is_stage:
        whole = count(len(row.entries), "entry", "entries")
        return plain(
            f"{row.stage}: {whole}" if number is None else f"{row.stage}: this recipe uses {number} of {whole}"
        )
    (entry,) = row.entries
    facts = [] if number is None else ["used by this recipe" if number else "not used by this recipe as it is now"]
    users = kept.users.get(entry.key, ())
    facts += [f"last runs of {', '.join(users)}"] if users else []
    return plain(" · ".join([*facts, str(entry.directory)]))


def _name(row: CacheRow, used: Collection[str] | None, look: Look) -> str:
    if row.is_stage:
        return plain(f"{row.stage} · {len(row.entries)}")
    mark = look.mark("cached") if used is not None and row.entries[0].key in used else " "
    return f"  {mark} {plain(row.entries[0].label)}"


def _cells(row: CacheRow, kept: Kept, now: float) -> dict[str, str]:
    cells = {
        "size": size(sum(entry.bytes for entry in row.entries)),
        "took": duration(sum(entry.seconds for entry in row.entries)),
        "age": "",
        "key": "",
        "used by": "",
    }
    if not row.is_stage:
        (entry,) = row.entries
        cells |= {"age": _age(entry, now), "key": plain(entry.key[:8])}
        cells["used by"] = plain(", ".join(kept.users.get(entry.key, ())))
    return cells


def _age(entry: Entry, now: float) -> str:
    try:
        made = datetime.fromisoformat(entry.timestamp)
    except ValueError:
        return "-"
    return age(now - (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp())


def _fitted(text: str, room: int, look: Look, *, right: bool = False) -> str:
    text = cut(look.text(text), room, look)
    pad = " " * (room - cell_len(text))
    return pad + text if right else text + pad
