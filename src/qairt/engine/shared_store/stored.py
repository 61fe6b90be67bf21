"""Entries of a shared store: one record for each action, which names the files by their digests.

An action is a key together with the digests of the files that were read: two machines may make different bytes under
one key, and what was made from the one is never mixed with the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from qairt import keys
from qairt.engine.cache.entry import ENTRY, Entry, StoredFile, files_digest
from qairt.printable import printable

FORMAT = 1
"""Of the store; a newer one is left alone."""
MARKER = "qairt-store.json"
RIVALS = "rivals"
"""The folder of records of other bytes for the same action."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_FILES = 100_000


class Marker(BaseModel):
    """What makes a folder or bucket a store."""

    format: int
    id: str
    """Of this store, by chance: one that was emptied and filled anew is another one."""


class StoredEntry(BaseModel):
    """The record of one action. Nothing of a machine is in it: no paths, no stamps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    action: str
    key: str
    stage: str
    label: str
    timestamp: str
    """When it was built; ISO 8601, UTC."""
    files: dict[str, StoredFile]
    inputs: dict[str, JsonValue]
    seconds: float = Field(ge=0)
    peak_rss: int = Field(ge=0)
    made_from: dict[str, str]
    made_with: dict[str, str]
    made_by: dict[str, str]
    read: dict[str, str]
    """See `Entry.read`."""

    @field_validator("files")
    @classmethod
    def _are_files_below(cls, files: dict[str, StoredFile]) -> dict[str, StoredFile]:
        for name, file in files.items():
            path = PurePosixPath(name)
            wrong = path.is_absolute() or ".." in path.parts or name == ENTRY or str(path) != name or "\0" in name
            if wrong or file["size"] < 0 or not _DIGEST.fullmatch(file["sha256"]):
                raise ValueError("not a file of an entry")
        if len(files) > _MOST_FILES:
            raise ValueError("too many files")
        return files

    @property
    def bytes(self) -> int:
        return sum(file["size"] for file in self.files.values())

    @property
    def host(self) -> str:
        """Where it was built, as its writer says; fit to be shown."""
        return printable(self.made_by.get("host", "")) or "an unknown host"

    def contents(self) -> dict[str, int]:
        """Its files' digests, each once, with their sizes."""
        return {file["sha256"]: file["size"] for file in self.files.values()}


def stored_of(entry: Entry) -> StoredEntry | None:
    """What a store keeps of an entry; None for one of an earlier version, which does not say what bytes it read."""
    if entry.read is None:
        return None
    return StoredEntry(
        action=action_of(entry.key, entry.read),
        key=entry.key,
        stage=entry.stage,
        label=entry.label,
        timestamp=entry.timestamp,
        files=entry.files,
        inputs=entry.inputs,
        seconds=entry.seconds,
        peak_rss=entry.peak_rss,
        made_from=entry.made_from,
        made_with=entry.made_with,
        made_by=entry.made_by,
        read=entry.read,
    )


def action_of(key: str, read: Mapping[str, str]) -> str:
    """The name of a result: its key, and the digests of the files it was made from, by item."""
    return keys.digest({"key": key, "read": dict(read)})


def written(stored: StoredEntry) -> bytes:
    """The content of its object: the record, and a checksum of it."""
    record = stored.model_dump(mode="json")
    return (json.dumps({"entry": record, "sha256": keys.digest(record)}) + "\n").encode()


def parsed(raw: bytes, action: str) -> StoredEntry | None:
    """The record in an object; None if it is damaged, of another action, or of a newer version."""
    try:
        content = json.loads(raw)
        if content["sha256"] != keys.digest(content["entry"]):
            return None
        stored = StoredEntry.model_validate(content["entry"])
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return None
    whole = stored.action == action == action_of(stored.key, stored.read)
    return stored if whole and stored.key == keys.digest(stored.inputs) else None


def entry_name(action: str) -> str:
    return f"ac/{action[:2]}/{action}"


def content_name(digest: str) -> str:
    return f"cas/{digest[:2]}/{digest}"


def rival_name(stored: StoredEntry) -> str:
    return f"{RIVALS}/{stored.action}/{files_digest(stored.files)}"
