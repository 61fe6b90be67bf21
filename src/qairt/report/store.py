"""Putting a report where it was asked for: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from qairt.engine.files import write_atomic
from qairt.errors import QairtError


def write(path: Path, text: str) -> None:
    """Replace `path` with `text`; folders above it are made.

    Raises:
        QairtError: it is a folder, or cannot be written; what was there is left as it was.
    """
    if path.is_dir():
        raise QairtError("this is a folder", where=str(path), remedy="name a file in it")
    try:
        write_atomic(path, text)
    except OSError as error:
        raise QairtError(
            f"the report cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="name a file in a folder that you may write to, on a disk that is not full",
        ) from error
