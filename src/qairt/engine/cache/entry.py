"""Entries of the cache: what `cache_entry.json` records about one finished item."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import JsonValue
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from qairt import keys
from qairt.engine.cache.blobs import SHARED_FROM
from qairt.files import read_json, sha256_of

ENTRY = "cache_entry.json"


class StoredFile(TypedDict):
    """One file of an entry."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class NewEntry:
    """What is recorded of an item when it is stored."""

    key: str
    stage: str
    label: str
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    """Everything that entered the key, to explain later why it differs."""
    seconds: float = 0.0
    peak_rss: int = 0
    """Bytes."""
    made_from: Mapping[str, str] = field(default_factory=dict)
    """The keys of the items that it read, by item; more than its own key contains if one of them has facets."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """What may change its last bits and is not in the key: versions of packages, the processor."""
    read: Mapping[str, str] | None = None
    """See `Entry`."""
    stands_for: Sequence[str] = ()
    """See `Entry`."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """The host, and the versions and digests of its tools; of a fetched entry, those of its builder."""


@dataclass(frozen=True)
class Entry:
    """One finished item on disk."""

    directory: Path
    key: str
    stage: str
    label: str
    timestamp: str
    """ISO 8601, UTC."""
    files: dict[str, StoredFile]
    """By path below `directory`."""
    inputs: dict[str, JsonValue]
    """Everything that entered the key."""
    seconds: float
    peak_rss: int
    new_bytes: int
    """Bytes that no other entry held when this item was made."""
    made_from: dict[str, str] = field(default_factory=dict)
    """The keys of the items that it read, by item."""
    made_with: dict[str, str] = field(default_factory=dict)
    """See `NewEntry`; empty in entries of earlier versions."""
    read: dict[str, str] | None = None
    """The digests of the files of the items that it read and whose keys its own contains, by item: of two results under
    one key, the one it was made from. None in entries of earlier versions."""
    made_by: dict[str, str] = field(default_factory=dict)
    """See `NewEntry`; empty in entries of earlier versions."""
    stands_for: tuple[str, ...] = ()
    """The digests of the files of results that were released and that this one was built to replace: what was made from
    those stays."""
    released: frozenset[str] = frozenset()
    """Those of its files whose content was deleted to save space. What was made from them stays valid; reading one has
    the item rebuilt."""

    @property
    def bytes(self) -> int:
        """Of all its files, here or let go."""
        return sum(file["size"] for file in self.files.values())

    @property
    def is_whole(self) -> bool:
        """Whether all its files are here."""
        return not self.released

    @property
    def bytes_here(self) -> int:
        """Of the files that are here."""
        return sum(file["size"] for file in self.files_here().values())

    def files_here(self) -> dict[str, StoredFile]:
        """Its files without those that were let go."""
        return {name: file for name, file in self.files.items() if name not in self.released}

    def missing(self) -> str | None:
        """The first file that is absent, no regular file or of another size, or None; not one that was let go."""
        for name, file in self.files_here().items():
            try:
                status = (self.directory / name).lstat()
            except OSError:
                return f"{name} is missing"
            if not stat.S_ISREG(status.st_mode):
                return f"{name} is not a regular file"
            if status.st_size != file["size"]:
                return f"{name} has {status.st_size:,} bytes, not {file['size']:,}"
        return None

    def altered(self, digest_of: Callable[[Path], str] = sha256_of) -> str | None:
        """The first file whose content is not what was stored, or None. Reads every byte unless `digest_of` knows."""
        problem = self.missing()
        for name, file in self.files_here().items() if problem is None else ():
            try:
                if digest_of(self.directory / name) != file["sha256"]:
                    return f"{name} has different content"
            except OSError as error:
                return f"{name} cannot be read: {error.strerror}"
        return problem

    def holds(self, key: str, files: Mapping[str, StoredFile]) -> bool:
        """Whether it is that of `key`, and these files are here. Reads every byte."""
        return self.key == key and self.is_whole and self.files == files and self.altered() is None

    def paths(self) -> dict[Path, str]:
        """Its files that are here, each with the digest of what was stored."""
        return {self.directory / name: file["sha256"] for name, file in self.files_here().items()}

    def differs_from(self, other: Entry) -> str | None:
        """The first file whose content is not that of the other's file of this name, or None."""
        names = sorted(self.files.keys() | other.files.keys())
        return next((name for name in names if self.files.get(name) != other.files.get(name)), None)


def read_entry(directory: Path) -> Entry:
    """The entry in a folder.

    Raises:
        OSError: its record cannot be read.
        ValueError, KeyError, TypeError, AttributeError, OverflowError: the record is damaged.
    """
    record = read_json(directory / ENTRY)
    files: dict[str, StoredFile] = {
        _below(name): {"size": int(file["size"]), "sha256": str(file["sha256"])}
        for name, file in record["files"].items()
    }
    return Entry(
        directory=directory,
        key=str(record["key"]),
        stage=str(record["stage_name"]),
        label=str(record["label"]),
        timestamp=str(record["timestamp"]),
        files=files,
        inputs=dict(record["inputs"]),
        seconds=float(record["seconds"]),
        peak_rss=int(record["peak_rss"]),
        new_bytes=int(record["new_bytes"]),
        made_from=_texts(record.get("made_from") or mapping_in(record["inputs"], "extras", "sources")),
        made_with=_texts(record.get("made_with") or {}),
        read=None if record.get("read") is None else _texts(record["read"]),
        made_by=_texts(record.get("made_by") or {}),
        stands_for=tuple(str(digest) for digest in record.get("stands_for") or ()),
        released=frozenset(name for name in record.get("released") or () if name in files),
    )


def _texts(stated: Mapping[str, object]) -> dict[str, str]:
    return {name: value for name, value in stated.items() if isinstance(value, str)}


def _below(name: str) -> str:
    """The name of a file, which must lie below the entry."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name} is not below the entry")
    return name


def written(entry: Entry) -> str:
    """The content of its `cache_entry.json`."""
    record = {
        "key": entry.key,
        "stage_name": entry.stage,
        "label": entry.label,
        "timestamp": entry.timestamp,
        "artifact_path": str(entry.directory),
        "files": entry.files,
        "seconds": entry.seconds,
        "peak_rss": entry.peak_rss,
        "new_bytes": entry.new_bytes,
        "inputs": entry.inputs,
        "made_from": entry.made_from,
        "made_with": entry.made_with,
        "read": entry.read,
        "made_by": entry.made_by,
        **({"stands_for": list(entry.stands_for)} if entry.stands_for else {}),
        **({"released": sorted(entry.released)} if entry.released else {}),
    }
    return json.dumps(record, indent=1) + "\n"


def mapping_in(inputs: Mapping[str, JsonValue], *names: str) -> dict[str, JsonValue]:
    """The mapping at a path of names below an entry's inputs; empty if there is none."""
    found = dict(inputs)
    for name in names:
        inner = found.get(name)
        found = inner if isinstance(inner, dict) else {}
    return found


def files_digest(files: Mapping[str, StoredFile]) -> str:
    """One digest for the files of an entry: their names and contents."""
    return keys.digest({name: file["sha256"] for name, file in files.items()})


def bytes_on_disk(entries: Iterable[Entry]) -> dict[str, int]:
    """Bytes of each entry, by key: of equal large files once, where they are first, and none that was let go."""
    seen: set[str] = set()
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry.key] = 0
        for file in entry.files_here().values():
            sizes[entry.key] += 0 if file["sha256"] in seen else file["size"]
            if file["size"] >= SHARED_FROM:
                seen.add(file["sha256"])
    return sizes


def by_age(entry: Entry) -> tuple[str, str]:
    """A sort key, the oldest entry first. Of two with the same time, the order of their keys decides."""
    return entry.timestamp, entry.key


def newest_by_item(entries: Iterable[Entry]) -> dict[tuple[str, str], Entry]:
    """The newest entry of each item, by stage and label."""
    return {(entry.stage, entry.label): entry for entry in sorted(entries, key=by_age)}
