"""A folder that appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qairt.errors import QairtError


@contextmanager
def new_folder(directory: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `directory` unless an error is raised.

    Raises:
        QairtError: `directory` is not empty, or cannot be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise QairtError("it exists and is not empty", where=str(directory), remedy="give a new folder")
    directory = directory.absolute()
    work: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
        yield work
        work.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        work.rename(directory)
    except OSError as error:
        raise QairtError(
            f"it cannot be written: {error.strerror}",
            where=str(directory),
            remedy="give a writable folder on a disk with free space",
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
