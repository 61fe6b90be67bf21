"""Cleared entries, which can be restored until the next prune.

    pipeline_state/trash/{n}/
      journal.json                       what was cleared, and how far it got; written before anything moves
      manifest.json                      the manifest before the clear
      {stage}/{stage}_{key[:8]}/         the entries, moved here: the same files, not copies

Nothing is lost if the process ends at any moment: the next one rolls an unfinished clear back and completes an
unfinished undo. Both use the same steps, since the journal says where each entry belongs and a move is done once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout
from pydantic import JsonValue, ValidationError

from qairt.engine.cache.entry import Entry
from qairt.engine.cache.journal import JOURNAL, TRASH, Journal, Moved
from qairt.engine.cache.manifest import PipelineManifest, Stages, items_of, manifest_bytes, parse_manifest
from qairt.engine.cache.readers import Readers
from qairt.errors import CacheError
from qairt.files import flush, read_regular, write_atomic

_MANIFEST = "manifest.json"
_LOCK_TIMEOUT = 10.0  # seconds to wait for another process that clears or undoes


@dataclass(frozen=True)
class Cleared:
    """What was cleared, or restored."""

    bytes: int
    """Freed by the next prune, or held back from it."""
    entries: tuple[Moved, ...]
    superseded: tuple[Moved, ...] = ()
    """Rebuilt since they were cleared, so the new ones stay."""


class Trash:
    """The cleared entries of one cache directory; safe to use from several processes at once.

    Args:
        root: the folder `pipeline_state`.
    """

    def __init__(self, root: Path, manifest: PipelineManifest, readers: Readers) -> None:
        self.folder = root / TRASH
        self._root = root
        self._manifest = manifest
        self._readers = readers

    def clear(self, entries: Sequence[Entry], freed: int) -> Cleared:
        """Move entries here, and remove their records from the manifest.

        Args:
            freed: bytes that the next prune frees for it.

        Raises:
            CacheError: an entry is being read or cannot be moved; none was.
        """
        if not entries:
            return Cleared(0, ())
        with self._locked("cleared"):
            self._recover()
            folder, journal = self._begin(entries, freed)
            try:
                for moved in journal.entries:
                    held = folder / moved.place
                    held.parent.mkdir(exist_ok=True)
                    with self._readers.excluded(moved.key) as free:
                        if not free:
                            raise self._being_read(moved)
                        os.rename(self._root / moved.place, held)
                self._flush_around(folder, journal.entries)
                if journal.after is not None:
                    self._manifest.change(lambda stages: _take_out(stages, journal.entries))
                self._write(folder, journal.model_copy(update={"step": "cleared"}))
            except (OSError, CacheError):
                with suppress(OSError, CacheError):
                    self._restore(folder, journal)
                raise
        return Cleared(journal.bytes, journal.entries)

    def undo(self) -> Cleared | None:
        """Restore what was cleared last; None if there is nothing. The next call restores the clear before it.

        Raises:
            CacheError: it cannot be moved, or all of it was rebuilt since then; the rebuilt entries stay.
        """
        if not self.folder.is_dir():
            return None
        with self._locked("restored"):
            self._recover()
            for folder in reversed(self._folders()):
                journal = self._read(folder)
                if journal is None or journal.step != "cleared":
                    continue
                self._write(folder, journal.model_copy(update={"step": "undoing"}))
                try:
                    cleared = self._restore(folder, journal)
                except (OSError, CacheError):
                    with suppress(OSError):  # entries that were restored are recognized by their place
                        self._write(folder, journal)
                    raise
                if not cleared.entries:
                    names = ", ".join(moved.name for moved in journal.entries[:3])
                    more = f" and {len(journal.entries) - 3} more" if len(journal.entries) > 3 else ""
                    raise CacheError(
                        f"{names}{more} cannot be restored: rebuilt since then, and the new entries are kept",
                        where=str(self._root.parent),
                        remedy="undo again to restore what was cleared before",
                    )
                return cleared
        return None

    def empty(self) -> int:
        """Permanently delete everything here; returns the number of entries.

        Raises:
            CacheError: it cannot be deleted.
        """
        if not self.folder.is_dir():
            return 0
        with self._locked("deleted"):
            self._recover()
            count = len(self.entries())
            for folder in self._folders():
                (folder / JOURNAL).unlink(missing_ok=True)  # first, so that a half-deleted clear is never restored
                flush(folder)
                shutil.rmtree(folder)
            return count

    def recover(self) -> None:
        """Complete or roll back what a killed process left, unless another one does or the cache is read-only."""
        if any(journal.step in ("clearing", "undoing") for _, journal in self._journals()):
            with suppress(OSError, CacheError, Timeout), FileLock(self.folder / ".lock", timeout=0):
                self._recover()

    def entries(self) -> list[Moved]:
        """Everything that a prune would delete, the latest clear first."""
        return [moved for folder, journal in self._journals() for moved in self._held(folder, journal)]

    def undoable(self) -> tuple[Moved, ...]:
        """What `undo` would restore."""
        return next((journal.entries for _, journal in self._journals() if journal.step == "cleared"), ())

    # Inside

    def _begin(self, entries: Sequence[Entry], freed: int) -> tuple[Path, Journal]:
        """Write the journal, so that the clear can be rolled back."""
        number = max((int(folder.name) for folder in self._folders()), default=0) + 1
        folder = self.folder / str(number)
        folder.mkdir()
        places = [entry.directory.relative_to(self._root).as_posix() for entry in entries]
        moved = tuple(
            Moved(stage=entry.stage, label=entry.label, key=entry.key, place=place)
            for entry, place in zip(entries, places, strict=True)
        )
        raw = self._manifest.raw()
        records, after = _without(raw, moved)
        if raw is not None and after is not None:
            write_atomic(folder / _MANIFEST, raw)
        journal = Journal(step="clearing", bytes=freed, entries=moved, records=records, after=after)
        self._write(folder, journal)
        flush(self.folder)
        return folder, journal

    def _recover(self) -> None:
        for folder, journal in self._journals():
            if journal.step in ("clearing", "undoing"):
                self._restore(folder, journal)

    def _restore(self, folder: Path, journal: Journal) -> Cleared:
        """Move everything back whose place is free, and add it to the manifest."""
        back: list[Moved] = []
        superseded: list[Moved] = []
        for moved in journal.entries:
            held, place = folder / moved.place, self._root / moved.place
            if held.is_dir() and place.exists():
                superseded.append(moved)
                continue
            if held.is_dir():
                place.parent.mkdir(exist_ok=True)
                os.rename(held, place)
            if place.exists():
                back.append(moved)
        self._flush_around(folder, back)
        if journal.after is not None and back:
            before = folder / _MANIFEST
            whole = not superseded and before.exists() and self._manifest.replace(journal.after, read_regular(before))
            if not whole:
                self._manifest.change(lambda stages: _put_in(stages, back, journal.records))
        if superseded:
            self._write(folder, journal.model_copy(update={"step": "superseded", "entries": tuple(superseded)}))
        else:
            (folder / JOURNAL).unlink()
            flush(folder)
            shutil.rmtree(folder, ignore_errors=True)
        return Cleared(journal.bytes, tuple(back), tuple(superseded))

    def _flush_around(self, folder: Path, entries: Sequence[Moved]) -> None:
        """Force the moves to disk."""
        for stage in {PurePosixPath(moved.place).parts[0] for moved in entries}:
            for parent in (self._root / stage, folder / stage):
                if parent.is_dir():
                    flush(parent)

    def _folders(self) -> list[Path]:
        try:
            found = [path for path in self.folder.iterdir() if path.name.isdecimal()]
        except OSError:
            return []
        return sorted(found, key=lambda path: int(path.name))

    def _journals(self) -> list[tuple[Path, Journal]]:
        """The latest first."""
        read = [(folder, self._read(folder)) for folder in reversed(self._folders())]
        return [(folder, journal) for folder, journal in read if journal is not None]

    def _held(self, folder: Path, journal: Journal) -> list[Moved]:
        return [moved for moved in journal.entries if (folder / moved.place).is_dir()]

    def _read(self, folder: Path) -> Journal | None:
        try:
            return Journal.model_validate_json(read_regular(folder / JOURNAL))
        except (OSError, ValidationError):  # unusable: it waits for the next prune
            return None

    def _write(self, folder: Path, journal: Journal) -> None:
        write_atomic(folder / JOURNAL, journal.model_dump_json(indent=1) + "\n")
        flush(folder)

    def _being_read(self, moved: Moved) -> CacheError:
        return CacheError(
            f"nothing was cleared: {moved.name} is being read by a run",
            where=str(self._root.parent),
            remedy="wait for that run to end, or cancel it",
        )

    @contextmanager
    def _locked(self, done: str) -> Iterator[None]:
        try:
            self.folder.mkdir(exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=_LOCK_TIMEOUT):
                yield
        except Timeout as error:
            raise CacheError(
                f"nothing was {done}: another process is clearing or undoing in this cache",
                where=str(self._root.parent),
                remedy="try again when it has finished",
            ) from error
        except OSError as error:
            raise CacheError(
                f"nothing was {done}: {error.strerror or error}",
                where=str(error.filename or self.folder),
                remedy="free some disk space first; `qairt cache prune` may help"
                if error.errno in (errno.ENOSPC, errno.EDQUOT)
                else "this needs write access to the cache directory",
            ) from error


def files_of_trash(root: Path) -> Iterator[os.stat_result]:
    """The files of cleared entries.

    Args:
        root: the folder `pipeline_state`.
    """
    for directory, _, names in os.walk(root / TRASH):
        for name in names:
            with suppress(OSError):
                yield os.lstat(os.path.join(directory, name))


def _without(raw: bytes | None, entries: Sequence[Moved]) -> tuple[Stages, str | None]:
    """A manifest's records of entries, and the digest of the manifest without them; None if it has no such records."""
    try:
        content = parse_manifest(raw or b"")
    except ValueError:
        return {}, None
    records = _take_out(content["stages"], entries)
    return (records, hashlib.sha256(manifest_bytes(content)).hexdigest()) if records else ({}, None)


def _take_out(stages: Stages, entries: Sequence[Moved]) -> Stages:
    """Remove the records of entries, and of stages that have none left; returns what was removed."""
    records: Stages = {}
    for name in dict.fromkeys(moved.stage for moved in entries):
        stage = stages.get(name)
        if stage is None:
            continue
        items = items_of(stage)
        own = {
            moved.label: items.pop(moved.label)
            for moved in entries
            if moved.stage == name and _key_in(items.get(moved.label)) == moved.key
        }
        if own or not items:
            records[name] = {key: value for key, value in stage.items() if key != "items"} | {"items": own}
        if not items:
            del stages[name]
    return records


def _put_in(stages: Stages, entries: Sequence[Moved], records: Stages) -> None:
    """Add the records of entries; newer ones stay."""
    for moved in entries:
        record = records.get(moved.stage)
        if record is None:
            continue
        stage = stages.setdefault(moved.stage, {key: value for key, value in record.items() if key != "items"})
        removed, items = items_of(record), items_of(stage)
        if moved.label in removed and moved.label not in items:
            stage["items"] = items | {moved.label: removed[moved.label]}


def _key_in(record: JsonValue) -> JsonValue:
    return record.get("cache_key") if isinstance(record, dict) else None
