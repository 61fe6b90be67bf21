"""A folder that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qairt.errors import QairtError, unwritable
from qairt.files import flush
from qairt.folders import flush_tree, remove_left, temporary_folder


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `directory` unless an error is raised. What killed processes left of earlier
    ones is deleted.

    Raises:
        QairtError: `directory` is not empty, or cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise QairtError("it exists and is not empty", where=str(directory), remedy="give a new folder")
    directory = directory.absolute()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        remove_left(directory.parent, directory.name)
        with temporary_folder(directory.parent, directory.name) as work:
            yield work
            flush_tree(work)
            work.chmod(0o755)
            if directory.exists():
                directory.rmdir()
            work.rename(directory)
            flush(directory.parent)
    except OSError as error:
        raise unwritable(error, "the folder", directory, instead="give another one") from error
