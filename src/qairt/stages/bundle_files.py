"""A finished bundle as a folder of its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from qairt.engine.files import files_below, sha256_of
from qairt.errors import QairtError

SUMS = "SHA256SUMS"


def copy_bundle(source: Path, directory: Path) -> list[Path]:
    """Copy files and compare them with their checksums; `directory` appears whole or not at all.

    Raises:
        QairtError: `directory` holds something, or the copy is not what was made.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise QairtError("it exists and is not empty", where=str(directory), remedy="give a new folder")
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    try:
        for path in files_below(source):
            target = work / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _require_sums(work)
        work.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        work.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return files_below(directory)


def _require_sums(folder: Path) -> None:
    for line in (folder / SUMS).read_text().splitlines():
        digest, name = line.split("  ", 1)
        if sha256_of(folder / name) != digest:
            raise QairtError(
                f"{name} is not what was made: the cache is damaged",
                where=SUMS,
                remedy="run `qairt cache verify`, then `qairt run` to make it again",
            )
