"""A bundle as a folder of its own, from what is in the cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.bundle.sums import NAME as SUMS
from qairt.bundle.sums import read_sums
from qairt.errors import QairtError
from qairt.files import files_below, sha256_of

if TYPE_CHECKING:
    from qairt.bundle.contents import Contents, Format
    from qairt.engine.plan.planned import PlannedItem
    from qairt.engine.stage import StageOutput
    from qairt.stages.export_bundle import ExportBundleInput

_DAMAGED = "run `qairt cache verify`, then `qairt run` to make it again"


def copy_bundle(source: Path, directory: Path) -> list[Path]:
    """Copy files and compare them with their checksums; `directory` appears whole or not at all.

    Raises:
        QairtError: `directory` holds something, or the copy is not what was made.
    """
    with _new_folder(directory) as work:
        for path in files_below(source):
            target = work / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        for name, digest in read_sums(work).items():
            if sha256_of(work / name) != digest:
                raise _damaged(name)
    return files_below(directory.absolute())


def make_bundle(contents: Contents, directory: Path, form: Format, recorded: Mapping[Path, str]) -> list[Path]:
    """Compose a bundle from what stages left; `directory` appears whole or not at all.

    Args:
        recorded: SHA-256 that every file of the contents had when it was made.

    Raises:
        QairtError: `directory` holds something, a file is not what was made, or the format cannot be made of it.
    """
    from qairt.bundle.compose import compose

    placed: dict[str, Path] = {}
    with _new_folder(directory) as work:

        def place(source: Path, target: Path) -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            placed[target.relative_to(work).as_posix()] = source

        for path in contents.described_by():
            if sha256_of(path) != recorded.get(path):
                raise _damaged(path.name)
        compose(contents, work, form, place=place)
        digests = read_sums(work)
        for name, source in placed.items():
            if digests[name] != recorded.get(source):
                raise _damaged(name)
    return files_below(directory.absolute())


def gathered(
    item: PlannedItem, output_of: Callable[[PlannedItem], StageOutput]
) -> tuple[dict[Any, ExportBundleInput], dict[Path, str]]:
    """What an item of `export_bundle` was made from, by coordinate, and the digest of every file in it.

    Args:
        output_of: an item's output, from the cache.
    """
    from qairt.stages.export_bundle import ExportBundleInput

    inputs: dict[Any, ExportBundleInput] = {}
    digests: dict[Path, str] = {}
    for source in item.sources:
        fields: dict[str, Any] = {}
        level = [source]
        while level and len(fields) < len(ExportBundleInput.model_fields):
            for each in level:
                output = output_of(each)
                if each.entry is not None:
                    digests |= {each.entry.directory / name: file["sha256"] for name, file in each.entry.files.items()}
                for name in ExportBundleInput.model_fields:
                    if hasattr(output, name):
                        fields.setdefault(name, getattr(output, name))
            level = [each for above in level for each in above.sources]
        inputs[source.coord] = ExportBundleInput(**fields)
    return inputs, digests


@contextmanager
def _new_folder(directory: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `directory` where nothing went wrong."""
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
            remedy="give a folder on a disk with room that you may write to",
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _damaged(name: str) -> QairtError:
    return QairtError(f"{name} is not what was made: the cache is damaged", where=SUMS, remedy=_DAMAGED)
