"""What killed runs left in a cache directory, and entries that were set aside. Only what is proven dead is deleted.

.making-*    temporary folders, .writing-* temporary files: each is held by its maker (`qairt.folders`)
.resume-*    checkpoints of an unfinished item: in use while the item's lock is held
.bad-*       damaged files and entries that were set aside: nobody uses them
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from qairt.engine.cache.entry import ENTRY
from qairt.files import BAD, WRITING
from qairt.folders import MAKING, is_temporary_folder, remove_dead

RESUME = ".resume-"
_OF_EARLIER_VERSIONS = (".old-", ".write-test", ".recipe.yaml.")
_LEFT = (MAKING, WRITING, RESUME, BAD, *_OF_EARLIER_VERSIONS)


def leftovers(root: Path) -> list[Path]:
    """Everything below `pipeline_state` that may be left, and temporary folders beside it; sorted.

    Args:
        root: the folder `pipeline_state`.
    """
    return sorted([*_inside(root), *_beside(root)])


def remove_leftovers(root: Path) -> int:
    """Delete those that nobody uses; returns how many were deleted."""
    return sum(_removed(path, root / "locks") for path in leftovers(root))


def _inside(root: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(root):
        if ENTRY in names:  # a finished item: only its record is ever written again
            yield from (Path(place, name) for name in names if name.startswith(f"{WRITING}{ENTRY}."))
            folders.clear()
            continue
        if Path(place) == root / "blobs":
            continue
        found = [name for name in (*folders, *names) if name.startswith(_LEFT)]
        folders[:] = [name for name in folders if name not in found]
        yield from (Path(place, name) for name in found)


def _beside(root: Path) -> Iterator[Path]:
    """Those of a stage's published folder and of its pictures. The user's files may lie there too: only what is
    certainly ours is taken."""
    stages = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    for path in root.parent.glob(".*"):
        of_stage = re.fullmatch(r"\.(.+)\.(?:new|old)", path.name)  # of an earlier version
        if is_temporary_folder(path) or (of_stage is not None and of_stage[1] in stages):
            yield path
    for stage in stages:
        of_outputs = (f"{WRITING}{stage}-prediction-", f"{WRITING}{stage}-visualization-")  # of an earlier version
        for folder in (root.parent / stage, root.parent / f"{stage}_outputs"):
            for place, folders, _ in os.walk(folder):
                found = [
                    name for name in folders if name.startswith(of_outputs) or is_temporary_folder(Path(place, name))
                ]
                folders[:] = [name for name in folders if name not in found]
                yield from (Path(place, name) for name in found)


def _removed(path: Path, locks: Path) -> bool:
    if path.name.startswith(RESUME):
        return _removed_unless_locked(path, locks / f"{path.name.removeprefix(RESUME)}.lock")
    if path.name.startswith(BAD):
        _delete(path)
        return not os.path.lexists(path)
    return remove_dead(path)


def _removed_unless_locked(path: Path, lock: Path) -> bool:
    try:
        if not lock.exists():
            _delete(path)
        else:
            with FileLock(lock, timeout=0):
                _delete(path)
    except (Timeout, OSError):
        return False
    return not os.path.lexists(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
