"""Folders that appear as a whole: filled under a temporary name that their maker holds, then put in place in one step.

{parent}/.making-{name}-{random}/lock       held by its maker: a kernel lock, free the moment that process is gone
                                 content/   what becomes the folder
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from filecmp import cmp
from pathlib import Path

from qairt.files import flush, lock

MAKING = ".making-"
"""Prefix of temporary folders; a process that was killed leaves them behind."""
_LOCK, _CONTENT, _OLD = "lock", "content", "old"
_PAUSES = (0.02, 0.1, 0.3, 0.6)
"""Seconds between attempts to delete a folder into which something is written."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new empty folder below `parent`, on the same file system; deleted at the end unless it was put in place.

    Raises:
        OSError: it cannot be created.
    """
    outer, handle = _new_held_folder(parent, f"{MAKING}{name}-")
    try:
        content = outer / _CONTENT
        content.mkdir()
        yield content
    finally:
        _delete_left(outer)
        os.close(handle)


def is_temporary_folder(path: Path) -> bool:
    """Whether it is a folder that `temporary_folder` made, or an empty one of such a name."""
    if not path.name.startswith(MAKING) or path.is_symlink() or not path.is_dir():
        return False
    return (path / _LOCK).is_file() or not any(path.iterdir())


def remove_left(parent: Path, name: str) -> None:
    """Delete what killed processes left of `temporary_folder(parent, name)`."""
    with suppress(OSError):
        for path in parent.iterdir():
            if path.name.startswith(f"{MAKING}{name}-"):
                remove_dead(path)


def remove_dead(path: Path) -> bool:
    """Delete a temporary file or folder if its maker is gone; returns whether it was deleted.

    Nothing is deleted on a guess: its lock is taken first, and a maker takes that lock before the first byte.
    """
    try:
        if path.is_symlink():
            path.unlink()
            return True
        is_folder = path.is_dir()
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(path / _LOCK, flags | os.O_CREAT, 0o600) if is_folder else os.open(path, flags)
    except OSError:
        return False
    try:
        if not lock(handle, wait=False):
            return False
        if is_folder:
            _delete(path)
        else:
            path.unlink()
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _delete_left(outer: Path) -> None:
    """Delete a temporary folder of ours. A process that was just killed may still be writing into it for a moment; what
    cannot be deleted is left for `remove_dead`."""
    for pause in (*_PAUSES, 0.0):
        try:
            _delete(outer)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                return
            time.sleep(pause)
        else:
            return


def _delete(outer: Path) -> None:
    """Delete a temporary folder, its lock last: what is left at any moment is known for what it is."""
    for path in outer.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (outer / _LOCK).unlink(missing_ok=True)
    outer.rmdir()


def put_in_place(content: Path, directory: Path) -> None:
    """Make the temporary folder `content` the folder `directory`. What was there is deleted with the temporary folder.

    Raises:
        OSError: it cannot be renamed.
    """
    if not os.path.lexists(directory):
        os.rename(content, directory)
    elif not exchange(content, directory):
        os.rename(directory, content.with_name(_OLD))
        os.rename(content, directory)
    flush(directory.parent)


def exchange(one: Path, other: Path) -> bool:
    """Swap two files or folders in one step; False where the system cannot.

    Raises:
        OSError: they cannot be renamed.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # the kernel or the file system does not know it
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def flush_tree(folder: Path) -> None:
    """Force a folder, its files and the folders in it to disk."""
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink():
                flush(path)
        flush(Path(directory))


def same_content(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes; links to one file are not read."""
    names = _names(one)
    return names == _names(other) and all(same_file(one / name, other / name) for name in names)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are files, not symbolic links, with the same bytes; hard links to one file are not read."""
    if one.is_symlink() or other.is_symlink() or not (one.is_file() and other.is_file()):
        return False
    return os.path.samefile(one, other) or cmp(one, other, shallow=False)


def _names(folder: Path) -> set[str]:
    """Everything in a folder but folders, by its path in it."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in found}


def _new_held_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        outer = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        try:
            handle = os.open(outer / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # deleted before it was held, as that of a dead process
            continue
        except BaseException:  # Ctrl-C as well
            shutil.rmtree(outer, ignore_errors=True)
            raise
        lock(handle)
        if os.fstat(handle).st_nlink:
            return outer, handle
        os.close(handle)
