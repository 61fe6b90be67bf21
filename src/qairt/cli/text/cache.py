"""Cache entries as text and as data for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qairt.amounts import age, count, duration, size

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry

EntryData = dict[str, object]


def entry_rows(entries: Sequence[Entry], on_disk: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Stage, item, bytes on disk and alone, time, age and short key of each.

    Args:
        on_disk: see `Store.bytes_by_key`.
    """
    return [
        (
            entry.stage,
            entry.label,
            size(on_disk.get(entry.key, 0)),
            size(entry.bytes),
            duration(entry.seconds),
            entry_age(entry),
            entry.key[:8],
        )
        for entry in entries
    ]


def entry_age(entry: Entry) -> str:
    from datetime import UTC, datetime

    return age((datetime.now(UTC) - datetime.fromisoformat(entry.timestamp)).total_seconds())


def clearing(entries: Sequence[Entry], freed: int, *, when: str = "") -> str:
    """`2 entries: frees 62 MB at the next prune, 12.3 s to rebuild`."""
    work = duration(sum(entry.seconds for entry in entries))
    return f"{count(len(entries), 'entry', 'entries')}: frees {size(freed)}{when}, {work} to rebuild"


def inputs(entry: Entry) -> dict[str, object]:
    """The inputs of an entry's key, by dotted name."""
    from qairt.engine.cache.entry import mapping_in

    flat: dict[str, object] = {
        f"stages.{entry.stage}.{name}": value for name, value in mapping_in(entry.inputs, "config").items()
    }
    for group in ("params", "facts", "sources"):
        flat |= {f"{group} {name}": value for name, value in mapping_in(entry.inputs, "extras", group).items()}
    return flat


def as_data(entry: Entry) -> EntryData:
    return {
        "stage": entry.stage,
        "label": entry.label,
        "key": entry.key,
        "bytes": entry.bytes,
        "released": sorted(entry.released),
        "seconds": entry.seconds,
        "peak_rss": entry.peak_rss,
        "timestamp": entry.timestamp,
        "directory": str(entry.directory),
    }
