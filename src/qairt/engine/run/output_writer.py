"""Writing predictions and pictures: each file appears as a whole, and no file of the user is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from qairt.engine.axes import Coord
from qairt.engine.plan.output_record import OutputRecords, WrittenFile, WrittenOutput
from qairt.engine.plan.planned import PlannedOutput
from qairt.engine.run.gallery import write_gallery
from qairt.engine.stage import Env, Item, OutputContext
from qairt.errors import CacheError, unwritable
from qairt.files import files_below, flush, make_folder, sha256_of
from qairt.folders import remove_left, temporary_folder

_TEMPORARY = "output"


@dataclass(frozen=True)
class Written:
    """The files of one output."""

    files: tuple[Path, ...]
    bytes: int
    renamed: tuple[Path, ...]
    """New names of files that were in the way and not written by qairt."""


def write_output(
    output: PlannedOutput,
    items: Mapping[Coord, Item],
    env: Env,
    state_folder: Path,
    *,
    run_id: str = "",
    progress: Callable[[float, str], None] = lambda fraction, message: None,
) -> Written:
    """Have the stage write one output, move it to its folder and record it.

    Files of earlier outputs that are no longer written are deleted, unless they were changed. A file that qairt did
    not write, or that was changed, is renamed and kept.

    Raises:
        CacheError: the folder cannot be written.
        QairtError: from the stage.
    """
    with _lock(state_folder, f"output-{output.stage.name}-{output.kind}"):
        remove_left(output.directory, _TEMPORARY)
        with _working_directory(output.directory) as work:
            context = OutputContext(
                directory=work, model=output.model, env=env, predictions=output.predictions, progress=progress
            )
            if output.kind == "prediction":
                output.stage.write_predictions(items, context)
            else:
                output.stage.write_visualization(items, context)
                write_gallery(work, output.stage.name, output.model.visualization)
            return _put_in_place(output, work, OutputRecords(state_folder), run_id)


def prepare(directory: Path) -> None:
    """Check before work starts that `directory` can be written; created if missing.

    Raises:
        CacheError: it cannot be written.
    """
    if not directory.is_dir():
        with _working_directory(directory):
            pass


def _lock(state_folder: Path, name: str) -> AbstractContextManager[object]:
    """A lock that is held until the end of a `with`.

    Raises:
        CacheError: the cache directory cannot be written.
    """
    locks = state_folder / "locks"
    try:
        make_folder(locks)
        return FileLock(locks / f"{name}.lock").acquire()
    except OSError as error:
        raise unwritable(error, "the record of outputs", state_folder, instead="choose another --cache-dir") from error


@contextmanager
def _working_directory(directory: Path) -> Iterator[Path]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with temporary_folder(directory, _TEMPORARY) as work:
            yield work
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: Path, error: OSError) -> CacheError:
    return unwritable(error, "the stage's outputs", directory, instead="choose another save_dir")


def _put_in_place(output: PlannedOutput, work: Path, records: OutputRecords, run_id: str) -> Written:
    last = records.get(output.stage.name, output.kind)
    known = last.files if last is not None and last.directory == output.directory else {}
    files: dict[str, WrittenFile] = {}
    renamed: list[Path] = []
    for path in files_below(work):
        name = path.relative_to(work).as_posix()
        files[name] = WrittenFile(size=path.stat().st_size, sha256=sha256_of(path))
        flush(path)
        target = output.directory / name
        if _is_foreign(target, known.get(name), files[name]):
            renamed.append(_keep_under_another_name(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    for name in known.keys() - files.keys():
        old = output.directory / name
        if old.is_file() and sha256_of(old) == known[name].sha256:
            old.unlink()
    records.put(
        output.stage.name,
        output.kind,
        WrittenOutput(directory=output.directory, inputs=output.inputs, files=files, time=time.time(), run_id=run_id),
    )
    return Written(
        files=tuple(output.directory / name for name in files),
        bytes=sum(file.size for file in files.values()),
        renamed=tuple(renamed),
    )


def _is_foreign(target: Path, known: WrittenFile | None, new: WrittenFile) -> bool:
    """Whether the target exists and is not a file as qairt wrote it."""
    if not os.path.lexists(target):
        return False
    if not target.is_file():
        return True
    held = sha256_of(target)
    return held != new.sha256 and (known is None or held != known.sha256)


def _keep_under_another_name(path: Path) -> Path:
    number = 1
    while os.path.lexists(other := path.with_name(f"{path.stem}.kept{number}{path.suffix}")):
        number += 1
    path.rename(other)
    return other
