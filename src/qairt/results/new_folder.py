"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qairt.errors import QairtError, unwritable
from qairt.files import flush
from qairt.folders import flush_tree, remove_left, temporary_folder


def require_new(directory: Path) -> None:
    """Check that nothing is at `directory`, or an empty folder. What killed processes left in that is deleted.

    Raises:
        QairtError: something is; or it cannot be read.
    """
    if not os.path.lexists(directory):
        return
    if not directory.is_dir():
        raise QairtError("it exists and is not a folder", where=str(directory), remedy="give a new folder")
    remove_left(directory, directory.absolute().name)
    try:
        empty = not any(directory.iterdir())
    except OSError as error:
        raise unwritable(error, "the folder", directory, instead="give another one") from error
    if not empty:
        raise QairtError("it exists and is not empty", where=str(directory), remedy="give a new folder")


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `directory` unless an error is raised. What killed processes left of earlier
    ones is deleted.

    An empty folder that is there stays, as it may be somebody's working directory, a mount point or what a link
    leads to: the files are moved into it at the end, all or none.

    Raises:
        QairtError: `directory` is not empty, or cannot be written.
    """
    directory = directory.absolute()
    try:
        if not os.path.lexists(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            remove_left(directory.parent, directory.name)
            with temporary_folder(directory.parent, directory.name) as work:
                yield work
                flush_tree(work)
                work.chmod(0o755)
                work.rename(directory)
                flush(directory.parent)
            return
        require_new(directory)
        with temporary_folder(directory, directory.name) as work:
            yield work
            flush_tree(work)
            _move_all(work, directory)
    except OSError as error:
        raise unwritable(error, "the folder", directory, instead="give another one") from error


def _move_all(content: Path, directory: Path) -> None:
    moved: list[Path] = []
    try:
        for path in sorted(content.iterdir()):
            os.rename(path, directory / path.name)
            moved.append(directory / path.name)
        flush(directory)
    except BaseException:
        for path in moved:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        raise
