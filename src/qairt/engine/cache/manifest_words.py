"""What `manifest.json` says of one item, and whether that is missing, stale or rebuilt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.amounts import duration, size
from qairt.engine.cache.manifest import Stages, items_of, parse_manifest
from qairt.files import read_regular

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry

CURRENT = "as in the cache"
"""The judgement of a record that is right."""
_DIGEST = 12


class ManifestReader:
    """The manifest of a cache directory, read again only when the file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._stages: Stages = {}
        self._problem = ""

    def words(self, stage: str, label: str, key: str, entry: Entry | None) -> list[tuple[str, str]]:
        """Names and values of the item's record; nothing where there is neither a record nor an entry.

        Args:
            key: of the item in this run or plan.
            entry: its cache entry; None if there is none.
        """
        self._read()
        if self._problem:
            return [("manifest", self._problem)] if entry is not None else []
        record = items_of(self._stages.get(stage, {})).get(label)
        if not isinstance(record, Mapping):
            missing = "missing: manifest.json does not name this item, which is in the cache; the next run adds it"
            return [("manifest", missing)] if entry is not None else []
        return list(_record_words(record, key, entry))

    def _read(self) -> None:
        try:
            status = self.path.stat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            self._stages, self._problem = parse_manifest(read_regular(self.path))["stages"], ""
            self._stamp = stamp
        except FileNotFoundError:
            self._stamp, self._problem = None, "missing: there is no manifest.json; a run writes it"
        except (OSError, ValueError):
            self._stamp, self._problem = None, "manifest.json is damaged; the next run writes it anew"


def _record_words(record: Mapping[str, object], key: str, entry: Entry | None) -> Iterator[tuple[str, str]]:
    recorded, path, when = record.get("cache_key"), record.get("artifact_path"), record.get("timestamp")
    yield "manifest", _judgement(str(recorded or ""), str(path or ""), str(when or ""), key, entry)
    if path:
        yield "artifact", str(path)
    if when:
        yield "built", str(when)[:19].replace("T", " ") + " UTC"
    seconds, peak = record.get("seconds"), record.get("peak_rss")
    if isinstance(seconds, (int, float)):
        yield "took", duration(seconds) + (f", peak {size(peak)}" if isinstance(peak, int) and peak else "")
    if recorded:
        yield "key", str(recorded)


def _judgement(recorded: str, path: str, when: str, key: str, entry: Entry | None) -> str:
    if key and recorded != key:
        return f"stale: it records key {recorded[:_DIGEST]}, this item's is {key[:_DIGEST]}"
    if path and not Path(path).is_dir():
        return "missing: the folder that it records is gone"
    if entry is not None and _is_later(entry.timestamp, when):
        return f"rebuilt since: the entry is of {entry.timestamp[:19].replace('T', ' ')} UTC"
    return CURRENT if path else "its result was not kept"


def _is_later(one: str, other: str) -> bool:
    """Whether an entry is clearly newer than a record, which is written just after it."""
    try:
        return (datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds() > 1.0
    except (ValueError, TypeError):
        return False
