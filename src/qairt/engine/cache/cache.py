"""The stage cache: finished items on disk, found by key.

    {cache_dir}/pipeline_state/
      blobs/{sha256}                                       every large file once; entries hold hard links
      {stage}/{stage}_{key[:8]}/cache_entry.json + files   one finished item
      digests.jsonl                                        of unchanged files, so that they are not read again
      choices.json                                         what runs chose where the recipe leaves it open
      shared_store.jsonl                                   what is in the store that machines share
      trash/{n}/                                           cleared entries that can be restored: trash.py

An entry appears as a whole or not at all: an item is made in a folder next to its final one, its files are flushed, the
record is written last, and one rename makes it visible. A bad entry is set aside, reported and rebuilt, never used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from pydantic import JsonValue

from qairt import keys
from qairt.engine.cache.blobs import Blobs
from qairt.engine.cache.entry import ENTRY, Entry, NewEntry, StoredFile, read_entry, written
from qairt.engine.cache.leftovers import RESUME, leftovers, remove_leftovers
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.cache.readers import Readers
from qairt.engine.cache.trash import files_of_trash
from qairt.engine.digests import shared_digests
from qairt.engine.record.metrics_file import MetricsFile
from qairt.engine.stage import AnyStage, StageConfig, StageOutput
from qairt.errors import CacheError, unwritable
from qairt.files import BAD, files_below, make_folder, open_regular, require_writable, set_aside, write_atomic
from qairt.folders import flush_tree, put_in_place, temporary_folder

_NOT_STAGES = {"runs", "blobs", "locks", "trash"}
DIGESTS = "digests.jsonl"
SHARED = "shared"


class StageCache:
    """Finished items on disk by key; safe to use from several processes at once."""

    def __init__(
        self,
        cache_dir: str | Path,
        on_bad_entry: Callable[[Path, str], None] | None = None,
        *,
        verify_digests: bool = False,
    ) -> None:
        self._root = (Path(cache_dir) / STATE_FOLDER).absolute()
        self._on_bad_entry = on_bad_entry or (lambda path, why: None)
        self._verify_digests = verify_digests
        self._verified: set[Path] = set()
        self._digests = shared_digests(self._root / DIGESTS)
        self.blobs = Blobs(self._root / "blobs", self._digests)
        self.readers = Readers(self._root / "locks")

    @property
    def cache_dir(self) -> Path:
        """The pipeline state folder, `{cache_dir}/pipeline_state`."""
        return self._root

    @staticmethod
    def compute_key(
        stage_name: str,
        stage_config: StageConfig,
        upstream_key: str | None = None,
        extras: object = (),
    ) -> str:
        """SHA-256 hex digest of `(name, config, upstream key, extras)`; keys form a chain."""
        return keys.digest(key_inputs(stage_name, stage_config, upstream_key, extras))

    def prepare(self) -> None:
        """Create the folder.

        Raises:
            CacheError: it cannot be created or written.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            require_writable(self._root)
        except OSError as error:
            raise unwritable(error, _WHAT, self._root, instead=_INSTEAD) from error

    def require_folder(self) -> Path:
        """Check, without creating anything, that nothing else is in the place of the folder.

        Returns:
            The folder, or as much of its path as exists.

        Raises:
            CacheError: something else is.
        """
        there = next((path for path in (self._root, *self._root.parents) if os.path.lexists(path)), self._root)
        if not there.is_dir():
            raise _unwritable(self._root, f"{there} is not a folder", _INSTEAD)
        return there

    def require_writable(self) -> None:
        """Check, without creating anything, that the folder can be written.

        Raises:
            CacheError: it cannot, or something else is in its place.
        """
        there = self.require_folder()
        if not os.access(there, os.W_OK | os.X_OK):
            at = "it" if there == self._root else str(there)
            raise _unwritable(self._root, f"{at} is read-only for this user", f"make it writable, or {_INSTEAD}")

    # Lookup

    def entry(self, key: str) -> Entry | None:
        """The valid entry of `key`, checked by the content of its files; a bad one is set aside. Its large files may
        have been let go, see `Entry.is_whole`.

        A file is read only if it has changed since it was last read or stored.
        """
        for directory in self._candidates(key):
            entry = self._read(directory)
            if entry is None or entry.key != key:
                continue
            reading = self._verify_digests and directory not in self._verified
            problem = entry.altered(self._digests.read if reading else self._digests.digest)
            if problem is None:
                self._verified.add(directory)
                return entry
            self.retire(entry)
            self._on_bad_entry(directory, problem)
        return None

    def whole(self, key: str) -> Entry | None:
        """The valid entry of `key`, if all its files are here."""
        entry = self.entry(key)
        return entry if entry is not None and entry.is_whole else None

    def present(self, key: str) -> Entry | None:
        """The entry of `key` for display: its files are there, but their content is not checked."""
        found = (self._read(directory) for directory in self._candidates(key))
        return next((entry for entry in found if entry and entry.key == key and entry.missing() is None), None)

    def retire(self, entry: Entry) -> None:
        """Set a damaged entry aside, and let go of its damaged blobs: the next run rebuilds it."""
        self.blobs.release_damaged(file["sha256"] for file in entry.files.values())
        with suppress(OSError):  # a read-only cache: it stays, and is not used
            set_aside(entry.directory)

    def was_set_aside(self, stage_name: str, key: str) -> bool:
        """Whether an entry of `key` was damaged, and nothing has deleted what is left of it."""
        return any(self._root.glob(f"{stage_name}/{BAD}{stage_name}_{key[:8]}*"))

    def retire_if_damaged(self, entries: Iterable[Entry], path: Path) -> None:
        """Set the entry that holds `path` aside if its content, read anew, is not what was stored."""
        for entry in entries:
            if path in entry.paths() and (problem := entry.altered(self._digests.read)) is not None:
                self.retire(entry)
                self._on_bad_entry(entry.directory, problem)

    def has(self, key: str) -> bool:
        """Whether a valid entry exists for `key`."""
        return self.entry(key) is not None

    def get(self, key: str, stage_class: type[AnyStage], *, in_part: bool = False) -> StageOutput | None:
        """The cached output, or None on a miss or a damaged entry (which is set aside).

        Args:
            in_part: also where files were let go: it may name some that are not there.
        """
        entry = self.entry(key)
        if entry is None or not (entry.is_whole or in_part):
            return None
        try:
            absent = {"absent": entry.released} if entry.released else {}
            output: StageOutput = stage_class.load_from_cache(entry.directory, **absent)
        except Exception as error:  # of a stage of the user's own, anything
            self.retire(entry)
            self._on_bad_entry(entry.directory, f"its output cannot be read: {type(error).__name__}")
            return None
        return output

    def entries(self, stage_name: str | None = None) -> Iterator[Entry]:
        """All readable entries, of one stage or of all."""
        folders = [self._root / stage_name] if stage_name else sorted(self._folders())
        for folder in folders:
            for directory in sorted(folder.glob(f"{folder.name}_*")):
                entry = self._read(directory)
                if entry is not None:
                    yield entry

    def opened(self, path: Path, digest: str) -> BufferedReader | None:
        """A file of an entry opened for reading; None if it is gone or is not the one of this digest any more."""
        try:
            file = open_regular(path)
            if self._digests.digest(path) == digest and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except OSError:
            return None
        file.close()
        return None

    def linking(self, entries: Iterable[Entry]) -> AbstractContextManager[None]:
        """While inside, links to the files of these entries may be added or removed without counting as a change."""
        return self._digests.linking(path for entry in entries for path in entry.paths())

    # Writing

    @contextmanager
    def making(self, stage_name: str, key: str) -> Iterator[Path]:
        """A new empty folder to make the item of `key` in; deleted at the end unless it was published."""
        parent = self._root / stage_name
        make_folder(parent)
        with temporary_folder(parent, key[:8]) as work:
            yield work

    def resume_directory(self, stage_name: str, key: str) -> Path:
        """Where a long item may keep its checkpoints; not created here."""
        return self._root / stage_name / f"{RESUME}{key[:16]}"

    def shared_directory(self, stage_name: str) -> Path:
        """Where items of a stage may keep what they found out, for others; not created here."""
        return self._root / stage_name / SHARED

    def put(self, key: str, stage_output: StageOutput, stage: AnyStage, artifact_path: Path) -> None:
        """Persist `stage_output` at `artifact_path` by `stage.export()` and register it under `key`."""
        artifact_path = Path(artifact_path).absolute()
        artifact_path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(artifact_path.parent, key[:8]) as work:
            stage.export(stage_output, work)
            self.publish(work, NewEntry(key, stage.name, "all"), directory=artifact_path)

    def publish(
        self, work: Path, new: NewEntry, *, directory: Path | None = None, wait: Callable[[], None] = lambda: None
    ) -> Entry:
        """Make the finished folder `work` an entry: flush, record, rename.

        An entry with the same content stays, and only its record is renewed. One with other content is exchanged when
        nobody reads it any more.

        Args:
            work: made by `making`; gone or obsolete afterwards.
            directory: the entry's folder; chosen by stage and key if left out.
            wait: called again and again while the present entry is being read; what it raises ends the waiting.

        Raises:
            CacheError: the disk is full or the folder cannot be written; nothing else changed.
        """
        directory = directory or self._free_directory(new.stage, new.key)
        try:
            files: dict[str, StoredFile] = {}
            for path in files_below(work):
                size, digest = self.blobs.store(path)
                files[str(path.relative_to(work))] = {"size": size, "sha256": digest}
            made = [path.stat() for path in files_below(work)]
            entry = Entry(
                directory=directory,
                key=new.key,
                stage=new.stage,
                label=new.label,
                timestamp=datetime.now(UTC).isoformat(timespec="microseconds"),
                files=files,
                inputs=dict(new.inputs),
                made_from=dict(new.made_from),
                made_with=dict(new.made_with),
                read=None if new.read is None else dict(new.read),
                made_by=dict(new.made_by),
                seconds=round(new.seconds, 3),
                peak_rss=new.peak_rss,
                new_bytes=self.blobs.held_by(made, also=files_of_trash(self._root)),
                stands_for=tuple(new.stands_for),
            )
            present = self._read(directory) if directory.is_dir() and not directory.is_symlink() else None
            if present is not None and present.holds(new.key, files):
                entry = replace(entry, new_bytes=present.new_bytes)
                write_atomic(directory / ENTRY, written(entry))
                return read_entry(directory)
            write_atomic(work / ENTRY, written(entry))
            flush_tree(work)
            os.chmod(work, 0o755)
            with self.readers.excluded(new.key, wait):
                if os.path.lexists(directory) and (directory.is_symlink() or not directory.is_dir()):
                    set_aside(directory)
                put_in_place(work, directory)
            self._digests.remember(entry.paths())
            return read_entry(directory)
        except OSError as error:
            raise unwritable(error, "the result", directory, instead=_INSTEAD, kept=True) from error

    def write_metrics(self, metrics: Mapping[str, JsonValue]) -> None:
        """Replace `metrics.json`, the runtime metrics of stages."""

        def replace(sections: dict[str, JsonValue]) -> None:
            sections.clear()
            sections.update(metrics)

        MetricsFile(self._root).change(replace)

    def read_metrics(self) -> dict[str, JsonValue]:
        """The content of `metrics.json`; empty if it is absent or damaged."""
        return MetricsFile(self._root).read()

    # Removing

    def clear(self, stage_name: str | None = None) -> None:
        """Delete the entries of one stage, or all.

        Raises:
            ValueError: `stage_name` is not the name of a folder of this cache.
            CacheError: a run is reading one of them and the others are deleted, or they cannot be deleted.
        """
        if stage_name is not None and (stage_name in _NOT_STAGES or Path(stage_name).name != stage_name):
            raise ValueError(f"{stage_name!r} is not the name of a stage")
        try:
            with self.linking(self.entries()):
                kept = [entry for entry in self.entries(stage_name) if not self.delete(entry)]
                self.drop_unused_blobs()
        except OSError as error:
            raise CacheError(
                f"entries cannot be deleted: {error.strerror or error}",
                where=str(error.filename or self._root),
                remedy="this needs write access to the cache directory",
            ) from error
        self.remove_leftovers()
        for folder in [self._root / stage_name] if stage_name else self._folders():
            with suppress(OSError):  # something else is in it
                folder.rmdir()
        if kept:
            raise CacheError(
                f"{kept[0].stage} {kept[0].label} is being read by a run and was not deleted",
                where=str(kept[0].directory),
                remedy="wait for that run to end, or cancel it",
            )

    def delete(self, entry: Entry) -> bool:
        """Take an entry out of sight in one step, then delete it; False if somebody reads it. Its blobs stay until they
        are dropped."""
        with self.readers.excluded(entry.key) as free, temporary_folder(entry.directory.parent, "cleared") as work:
            if free:
                os.rename(entry.directory, work / entry.directory.name)
        return free

    def drop_unused_blobs(self) -> int:
        """Remove blobs that no entry links to, not even a cleared one; returns the bytes freed."""
        return self.blobs.drop_unused()

    def leftovers(self) -> list[Path]:
        """Files and folders of killed runs, and entries that were set aside."""
        return leftovers(self._root)

    def remove_leftovers(self) -> int:
        """Delete those that nobody uses; returns how many were deleted."""
        return remove_leftovers(self._root)

    # Inside

    def _candidates(self, key: str) -> Iterator[Path]:
        """Folders that may hold the entry of `key`."""
        for folder in self._folders():
            for length in (8, 16):  # the longer name is for two keys that begin alike
                directory = folder / f"{folder.name}_{key[:length]}"
                if directory.is_dir():
                    yield directory

    def _free_directory(self, stage_name: str, key: str) -> Path:
        directory = self._root / stage_name / f"{stage_name}_{key[:8]}"
        other = self._read(directory)
        return directory if other is None or other.key == key else directory.with_name(f"{stage_name}_{key[:16]}")

    def _folders(self) -> list[Path]:
        """The folders of stages, and perhaps others that hold no entries."""
        if not self._root.is_dir():
            return []
        return [path for path in self._root.iterdir() if path.is_dir() and path.name not in _NOT_STAGES]

    def _read(self, directory: Path) -> Entry | None:
        try:
            return read_entry(directory)
        except (FileNotFoundError, NotADirectoryError):
            if directory.is_dir():
                self._set_aside(directory, f"{ENTRY} is missing")
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
            self._set_aside(directory, f"{ENTRY} cannot be read ({type(error).__name__})")
            return None

    def _set_aside(self, directory: Path, problem: str) -> None:
        with suppress(OSError):  # a read-only cache: it stays, and is not used
            set_aside(directory)
        self._on_bad_entry(directory, problem)


_WHAT = "the cache directory"
_INSTEAD = "choose another one with --cache-dir or `cache_dir:` in the recipe"


def key_inputs(
    stage_name: str, stage_config: StageConfig, upstream_key: str | None, extras: object
) -> dict[str, JsonValue]:
    """What `compute_key` digests, as plain data."""
    return {
        "stage": stage_name,
        "config": keys.plain(stage_config.key_fields()),
        "upstream": upstream_key,
        "extras": keys.plain(extras),
    }


def _unwritable(folder: Path, why: str, remedy: str) -> CacheError:
    return CacheError(f"{_WHAT} cannot be written: {why}", where=str(folder), remedy=remedy)
