"""Files that git left as pointers, because git-lfs did not fetch their content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qairt.errors import ModelError
from qairt.files import open_regular

_START = b"version https://git-lfs.github.com/spec/"


def refuse_lfs_pointers(files: Iterable[Path]) -> None:
    """Check that no file is a pointer; files that do not exist are passed over.

    Raises:
        ModelError: names the first one.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    for path in files:
        if not path.is_file():
            continue
        with open_regular(path) as file:
            if file.read(len(_START)) == _START:
                raise ModelError(
                    "this is a git-lfs pointer, not the file itself",
                    where=str(path),
                    remedy=f"run `git lfs pull` in {path.parent}, or download the file",
                )
