"""A stage's result under its plain name, `{cache_dir}/{stage}`: whole, of one run at a time, repaired if damaged.

`published.json` holds what was written there last: {"<stage>": {"<file>": [size, mtime in ns]}}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from qairt.engine.cache.cache import StageCache
from qairt.engine.stage import AnyStage, Batch
from qairt.files import files_below, link_or_copy, make_folder, read_json, write_atomic
from qairt.folders import flush_tree, put_in_place, same_content, same_file, temporary_folder

_RECORD = "published.json"

Written = Mapping[str, list[int]]
"""Size in bytes and mtime in ns of each file, by its path in the folder."""


def publish(stage: AnyStage, items: Batch, cache: StageCache) -> Path | None:
    """Put a stage's result in place unless it is there, byte for byte.

    Returns:
        The folder that got the files which were there and not as they were written; None if there were none.

    Raises:
        OSError: the folder cannot be written.
    """
    directory = cache.cache_dir.parent / stage.name
    locks = cache.cache_dir / "locks"
    make_folder(locks)
    keys = [item.key for item in items.values()]
    with (
        FileLock(locks / "published.lock"),
        cache.readers.reading(keys),
        temporary_folder(directory.parent, stage.name) as fresh,
    ):
        stage.publish(items, fresh)
        if directory.is_dir() and not directory.is_symlink() and same_content(fresh, directory):
            return None
        flush_tree(fresh)
        fresh.chmod(0o755)
        records = _read(cache.cache_dir / _RECORD)
        kept = _keep_changed(directory, records.get(stage.name), fresh)
        written = _written(fresh)
        put_in_place(fresh, directory)
        write_atomic(cache.cache_dir / _RECORD, json.dumps({**records, stage.name: written}) + "\n")
        return kept


def _keep_changed(directory: Path, written: Written | None, fresh: Path) -> Path | None:
    """Save what is in a published folder but not as it was written, nor as it will be."""
    if not os.path.lexists(directory):
        return None
    if directory.is_symlink() or not directory.is_dir():
        return directory.rename(_free_name(directory))
    if written is None:  # of an earlier version
        return None
    now = _written(directory)
    changed = [
        name
        for name in now
        if now[name] != list(written.get(name, ())) and not same_file(directory / name, fresh / name)
    ]
    if not changed:
        return None
    kept = _free_name(directory)
    with temporary_folder(directory.parent, kept.name) as folder:
        for name in changed:
            link_or_copy(directory / name, folder / name)
        flush_tree(folder)
        put_in_place(folder, kept)
    return kept


def _free_name(directory: Path) -> Path:
    number = 1
    while os.path.lexists(other := directory.with_name(f"{directory.name}.kept{number}")):
        number += 1
    return other


def _written(folder: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in files_below(folder):
        status = path.stat()
        found[path.relative_to(folder).as_posix()] = [status.st_size, status.st_mtime_ns]
    return found


def _read(path: Path) -> dict[str, Written]:
    """The records by stage; those that are damaged are left out."""
    found: dict[str, Written] = {}
    with suppress(OSError, ValueError):
        content = read_json(path)
        for name, written in content.items() if isinstance(content, dict) else ():
            if isinstance(written, dict):
                found[name] = {file: stamp for file, stamp in written.items() if isinstance(stamp, list)}
    return found
