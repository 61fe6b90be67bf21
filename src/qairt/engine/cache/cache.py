"""The stage cache: finished items on disk, found again by key.

    {cache_dir}/pipeline_state/
      blobs/{sha256}                                       every large file once; items hold hard links
      {stage}/{stage}_{key[:8]}/cache_entry.json + files   one finished item
      trash/{n}/                                           what was cleared and can be brought back: trash.py

An entry appears whole or not at all: an item is made in a folder beside its place, its files are flushed, the entry is
written last, and one rename makes it visible. A bad entry is set aside, reported and made again; it is never used.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qairt import keys
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.stage import AnyStage, StageConfig, StageOutput
from qairt.errors import CacheError
from qairt.files import WRITING, files_below, flush, sha256_of, write_atomic

ENTRY = "cache_entry.json"
_LEFTOVERS = (".making-", ".resume-", ".bad-", ".old-")
_WRITTEN_S = 60.0
"""No file takes longer to write than this."""
_NOT_STAGES = {"runs", "blobs", "locks", "trash", "evaluate"}
_SHARED_FROM = 1 << 12  # bytes; smaller files are not worth a blob


@dataclass(frozen=True)
class Entry:
    """What `cache_entry.json` says of one item."""

    directory: Path
    key: str
    stage: str
    label: str
    timestamp: str
    files: dict[str, dict[str, Any]]
    """Relative path -> `{"size": bytes, "sha256": hex}`."""
    inputs: dict[str, Any]
    """Everything that went into the key, to say later why it differs."""
    seconds: float
    peak_rss: int
    new_bytes: int
    """Bytes that were not stored before this item was made."""

    @property
    def bytes(self) -> int:
        return sum(int(file["size"]) for file in self.files.values())

    def missing(self) -> str | None:
        """The first file that is absent or has another size, or None."""
        for name, file in self.files.items():
            path = self.directory / name
            try:
                size = path.stat().st_size
            except OSError:
                return f"{name} is missing"
            if size != file["size"]:
                return f"{name} has {size:,} bytes, not {file['size']:,}"
        return None

    def altered(self) -> str | None:
        """The first file whose content is not what was written, or None. Reads every byte."""
        return self.missing() or next(
            (
                f"{name} has another content"
                for name, file in self.files.items()
                if sha256_of(self.directory / name) != file["sha256"]
            ),
            None,
        )


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
        self._inodes: dict[tuple[int, int, int], str] = {}

    @property
    def cache_dir(self) -> Path:
        """The pipeline state folder, `{cache_dir}/pipeline_state`."""
        return self._root

    @staticmethod
    def compute_key(
        stage_name: str,
        stage_config: StageConfig,
        upstream_key: str | None = None,
        extras: Any = (),
    ) -> str:
        """SHA-256 hex digest of `(name, config, upstream key, extras)`; keys form a chain."""
        return keys.digest(key_inputs(stage_name, stage_config, upstream_key, extras))

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            CacheError: it cannot be made or written.
        """
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._root, prefix=".write-test"):
                pass
        except OSError as error:
            raise CacheError(
                f"the cache directory cannot be written: {error.strerror or error}",
                where=str(self._root),
                remedy="give another one with --cache-dir or `cache_dir:` in the recipe, or free the disk",
            ) from error

    # Looking up

    def entry(self, key: str) -> Entry | None:
        """The valid entry of `key`, checked by presence and size of its files; a bad one is set aside."""
        for directory in self._places(key):
            entry = self._read(directory)
            if entry is None or entry.key != key:
                continue
            by_content = self._verify_digests and directory not in self._verified
            problem = entry.altered() if by_content else entry.missing()
            if problem is None:
                self._verified.add(directory)
                return entry
            self._set_aside(directory, problem)
        return None

    def has(self, key: str) -> bool:
        """Whether a valid entry exists for `key`."""
        return self.entry(key) is not None

    def get(self, key: str, stage_class: type[AnyStage], **kwargs: Any) -> StageOutput | None:
        """The cached output, or None on a miss or a damaged entry (which is set aside)."""
        entry = self.entry(key)
        if entry is None:
            return None
        try:
            output: StageOutput = stage_class.load_from_cache(entry.directory, **kwargs)
        except (OSError, ValueError) as error:
            self._set_aside(entry.directory, f"its output cannot be read: {type(error).__name__}")
            return None
        return output

    def entries(self, stage_name: str | None = None) -> Iterator[Entry]:
        """All readable entries, of one stage or of all."""
        folders = [self._root / stage_name] if stage_name else sorted(self._stage_folders())
        for folder in folders:
            for directory in sorted(folder.glob(f"{folder.name}_*")):
                entry = self._read(directory)
                if entry is not None:
                    yield entry

    # Writing

    def working_directory(self, stage_name: str, key: str) -> Path:
        """A new empty folder beside the place of `key`, to make the item in."""
        parent = self._root / stage_name
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=parent, prefix=f".making-{key[:8]}-"))

    def resume_directory(self, stage_name: str, key: str) -> Path:
        """Where an item that takes long may keep what it has done so far (not made here)."""
        return self._root / stage_name / f".resume-{key[:16]}"

    def put(self, key: str, stage_output: StageOutput, stage: AnyStage, artifact_path: Path) -> None:
        """Persist `stage_output` at `artifact_path` by `stage.export()` and register it under `key`."""
        artifact_path = Path(artifact_path).absolute()
        artifact_path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=artifact_path.parent, prefix=f".making-{key[:8]}-"))
        try:
            stage.export(stage_output, work)
            self.publish(work, key, stage.name, "all", place=artifact_path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def publish(
        self,
        work: Path,
        key: str,
        stage_name: str,
        item_label: str,
        *,
        inputs: dict[str, Any] | None = None,
        seconds: float = 0.0,
        peak_rss: int = 0,
        place: Path | None = None,
    ) -> Entry:
        """Make the finished folder `work` the entry of `key`: flush, record, rename. `work` is gone afterwards.

        Raises:
            CacheError: the disk is full or the folder cannot be written; `work` is removed, nothing else changed.
        """
        place = place or self._free_place(stage_name, key)
        try:
            files: dict[str, dict[str, Any]] = {}
            new_bytes = 0
            for path in files_below(work):
                size, digest, is_new = self._store(path)
                files[str(path.relative_to(work))] = {"size": size, "sha256": digest}
                new_bytes += size if is_new else 0
            record = {
                "key": key,
                "stage_name": stage_name,
                "label": item_label,
                "timestamp": datetime.now(UTC).isoformat(timespec="microseconds"),
                "artifact_path": str(place),
                "files": files,
                "seconds": round(seconds, 3),
                "peak_rss": peak_rss,
                "new_bytes": new_bytes,
                "inputs": inputs or {},
            }
            write_atomic(work / ENTRY, json.dumps(record, indent=1) + "\n")
            flush(work)
            os.chmod(work, 0o755)
            if place.exists():
                self._discard(place)
            os.rename(work, place)
            flush(place.parent)
        except OSError as error:
            shutil.rmtree(work, ignore_errors=True)
            raise CacheError(
                f"the result cannot be stored: {error.strerror or error}",
                where=str(place),
                remedy="free space on that disk (`qairt cache prune` helps), then run again: finished items are kept",
            ) from error
        entry = self._read(place)
        assert entry is not None
        return entry

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write per-stage runtime metrics to `metrics.json`."""
        write_atomic(self._root / "metrics.json", json.dumps(metrics, indent=2, default=str) + "\n")

    def read_metrics(self) -> dict[str, Any]:
        """What `write_metrics` wrote last; empty if nothing usable is there."""
        try:
            metrics = json.loads((self._root / "metrics.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return metrics if isinstance(metrics, dict) else {}

    # Removing

    def clear(self, stage_name: str | None = None) -> None:
        """Delete the entries of one stage, or all."""
        folders: Iterable[Path] = [self._root / stage_name] if stage_name else self._stage_folders()
        for folder in list(folders):
            shutil.rmtree(folder, ignore_errors=True)
        self.drop_unused_blobs()

    def remove(self, entry: Entry) -> None:
        """Delete one entry."""
        self._discard(entry.directory)
        self.drop_unused_blobs()

    def drop_unused_blobs(self) -> int:
        """Remove blobs that no entry links to, not even a cleared one; returns the bytes freed."""
        freed = 0
        for blob in (self._root / "blobs").glob("*"):
            try:
                status = blob.stat()
            except FileNotFoundError:  # another process dropped it
                continue
            if status.st_nlink == 1:
                freed += status.st_size
                blob.unlink(missing_ok=True)
        return freed

    def leftovers(self) -> list[Path]:
        """Folders and files of runs that were killed, and entries set aside."""
        old = time.time() - _WRITTEN_S
        found = [path for path in self._root.glob(f"{WRITING}*") if path.is_file() and path.stat().st_mtime < old]
        for folder in self._stage_folders():
            found += [path for path in folder.iterdir() if path.name.startswith(_LEFTOVERS)]
        return sorted(found)

    # Inside

    def _places(self, key: str) -> Iterator[Path]:
        for folder in self._stage_folders():
            for length in (8, 16):  # the longer name is for two keys that begin alike
                directory = folder / f"{folder.name}_{key[:length]}"
                if directory.is_dir():
                    yield directory

    def _free_place(self, stage_name: str, key: str) -> Path:
        place = self._root / stage_name / f"{stage_name}_{key[:8]}"
        other = self._read(place)
        return place if other is None or other.key == key else place.with_name(f"{stage_name}_{key[:16]}")

    def _stage_folders(self) -> list[Path]:
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
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            self._set_aside(directory, f"{ENTRY} cannot be read ({type(error).__name__})")
            return None

    def _store(self, path: Path) -> tuple[int, str, bool]:
        """Flush one file and keep its bytes once: size, digest, and whether they were new."""
        status = path.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._inodes.get(stamp)
        if known is None:
            flush(path)
            known = self._blob_of(path, status.st_nlink) or sha256_of(path)
        self._inodes[stamp] = known
        is_new = True
        if status.st_size >= _SHARED_FROM:
            is_new = not _shared_with(path, self._root / "blobs" / known)
        return status.st_size, known, is_new

    def _blob_of(self, path: Path, links: int) -> str | None:
        """The digest of a file that is already a link to a blob, without reading it."""
        if links < 2:
            return None
        for blob in (self._root / "blobs").glob("*"):
            if os.path.samefile(blob, path):
                return blob.name
        return None

    def _set_aside(self, directory: Path, problem: str) -> None:
        target = directory.with_name(f".bad-{directory.name}-{os.getpid()}")
        try:
            if target.exists():
                shutil.rmtree(target)
            os.rename(directory, target)
        except OSError:  # read-only cache: it stays where it is, and is not used
            pass
        self._on_bad_entry(directory, problem)

    def _discard(self, directory: Path) -> None:
        """Take a folder out of sight in one step, then delete it."""
        old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".old-"))
        os.rename(directory, old / directory.name)
        shutil.rmtree(old, ignore_errors=True)


def read_entry(directory: Path) -> Entry:
    """What `cache_entry.json` in a folder says; the folder is left as it is.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError, TypeError, AttributeError: it does not hold an entry.
    """
    record = json.loads((directory / ENTRY).read_bytes())
    return Entry(
        directory=directory,
        key=str(record["key"]),
        stage=str(record["stage_name"]),
        label=str(record["label"]),
        timestamp=str(record["timestamp"]),
        files={str(name): {"size": int(f["size"]), "sha256": str(f["sha256"])} for name, f in record["files"].items()},
        inputs=dict(record["inputs"]),
        seconds=float(record["seconds"]),
        peak_rss=int(record["peak_rss"]),
        new_bytes=int(record["new_bytes"]),
    )


def _shared_with(path: Path, blob: Path) -> bool:
    """Make `path` and `blob` one file. True if the bytes were stored before.

    Another process may add or drop the blob at any moment; then the file keeps its own bytes, which is never wrong.
    """
    try:
        if blob.exists():
            if not os.path.samefile(blob, path):
                twin = path.with_name(path.name + ".twin")
                os.link(blob, twin)
                os.replace(twin, path)
            return True
        blob.parent.mkdir(exist_ok=True)
        os.chmod(path, 0o444)  # shared from now on: nobody should write into it
        os.link(path, blob)
    except OSError:
        pass
    return False


def key_inputs(stage_name: str, stage_config: StageConfig, upstream_key: str | None, extras: Any) -> dict[str, Any]:
    """What `compute_key` digests, as plain data."""
    return {
        "stage": stage_name,
        "config": keys.plain(stage_config.key_fields()),
        "upstream": upstream_key,
        "extras": keys.plain(extras),
    }
