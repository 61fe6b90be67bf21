"""Letting go of an entry's large files: what was made, and from what, stays known.

1. The record is written first, with the names of the files that are let go, so that an entry whose files are gone for
   this reason is never taken for a damaged one. A process that is killed after that leaves files that nobody reads; the
   next call removes them.
2. An entry that somebody reads or makes stays as it is.
3. Bytes that another entry holds stay on disk.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from qairt.engine.cache.blobs import SHARED_FROM
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import ENTRY, Entry, read_entry, written
from qairt.files import flush, make_folder, write_atomic


@dataclass(frozen=True)
class Released:
    """An entry whose large files were let go."""

    entry: Entry
    bytes: int
    """Freed on disk."""


def release(cache: StageCache, entry: Entry, *, kept: Collection[Path] = ()) -> Released | None:
    """Let go of an entry's large files; None where they stay, because it is being read, made or gone, or cannot be
    written. Of one that was released before, what a killed process left is removed.

    Args:
        kept: files and folders of it that stay.
    """
    locks = cache.cache_dir / "locks"
    try:
        make_folder(locks)
        with FileLock(locks / f"{entry.key[:16]}.lock", timeout=0), cache.readers.excluded(entry.key) as free:
            present = read_entry(entry.directory) if free else None
            if present is None or present.key != entry.key:
                return None
            return _released(cache, present, kept)
    except (OSError, Timeout, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _released(cache: StageCache, entry: Entry, kept: Collection[Path]) -> Released:
    stays = {path.relative_to(entry.directory) for path in kept}
    large = {
        name
        for name, file in entry.files_here().items()
        if file["size"] >= SHARED_FROM and stays.isdisjoint((Path(name), *Path(name).parents))
    }
    marked = replace(entry, released=frozenset(large)) if entry.is_whole else entry
    if marked != entry:
        write_atomic(entry.directory / ENTRY, written(marked))
        flush(entry.directory)
    freed = 0
    with cache.linking([entry]), cache.blobs.linking(file["sha256"] for file in entry.files.values()):
        for name in sorted(marked.released):
            path = entry.directory / name
            with suppress(FileNotFoundError):
                freed += path.lstat().st_size if path.lstat().st_nlink == 1 else 0
                path.unlink()
            freed += cache.blobs.drop(marked.files[name]["sha256"])
    return Released(marked, freed)
