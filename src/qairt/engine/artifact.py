"""Inputs and outputs of stages: pydantic models whose `Path` fields are the files, and their form on disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict

from qairt.errors import CacheError
from qairt.files import copy_file, files_below, read_regular

OUTPUT_FILE = "output.json"


class StageInput(BaseModel):
    """What a stage reads; each field is filled by name from the nearest upstream output that has it."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True)
class Artifact:
    """Marks a `Path` field of an output that `plan` counts: `Annotated[Path, Artifact("DLC")]`."""

    kind: str


class StageOutput(BaseModel):
    """What a stage produces. `Path` fields are its files: absolute in memory, relative to the item's folder on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def artifact_kinds(cls) -> Counter[str]:
        """How many files of each counted kind one item holds."""
        kinds: Counter[str] = Counter()
        for info in cls.model_fields.values():
            for mark in info.metadata:
                if isinstance(mark, Artifact):
                    kinds[mark.kind] += 1
        return kinds

    def paths(self) -> Iterator[Path]:
        """Every file and folder this output names."""
        for name in type(self).model_fields:
            yield from _paths_in(getattr(self, name))

    def moved(self, old: Path, new: Path) -> Self:
        """The same output after its folder moved from `old` to `new`."""
        values = {name: _move(getattr(self, name), old, new) for name in type(self).model_fields}
        return type(self).model_validate(values)


OutT = TypeVar("OutT", bound=StageOutput)


def write_output(output: StageOutput, directory: Path) -> None:
    """Write the fields of `output` into `directory`, paths relative to it."""
    relative = output.moved(directory, Path())
    (directory / OUTPUT_FILE).write_text(relative.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_output(output_type: type[OutT], directory: Path, absent: Collection[str] = ()) -> OutT:
    """The inverse of `write_output`.

    Args:
        absent: files that were let go, by path below `directory`; it may name them.

    Raises:
        CacheError: it names something that is no regular file or folder below `directory`.
        OSError, pydantic.ValidationError: it cannot be read.
    """
    output = output_type.model_validate_json(read_regular(directory / OUTPUT_FILE))
    for path in output.paths():
        if path.as_posix() not in absent:
            require_below(path, directory)
    return output.moved(Path(), directory)


def is_here(output: StageOutput, fields: Collection[str], directory: Path, absent: Collection[str]) -> bool:
    """Whether all files of some fields of an output are there.

    Args:
        directory: of the output.
        absent: see `read_output`.
    """
    gone = [directory / name for name in absent]
    named = {path for field in fields for path in _paths_in(getattr(output, field))}
    return not any(named.intersection((path, *path.parents)) for path in gone)


def require_below(path: Path, directory: Path) -> None:
    """Check that `path`, relative to `directory`, is a regular file or a folder in it, with no link on the way.

    Raises:
        CacheError: it is not.
    """
    wrong = path.is_absolute() or ".." in path.parts
    step = directory
    for part in path.parts if not wrong else ():
        step /= part
        wrong = wrong or step.is_symlink()
    if wrong or not (step.is_file() or step.is_dir()):
        raise CacheError(
            f"its output names {path}, which is no file of its own",
            where=str(directory),
            remedy="a stage writes all its files into `context.directory`",
        )


def export_output(output: StageOutput, directory: Path) -> None:
    """Copy the files and folders of `output` into `directory`, and write its fields there."""
    directory.mkdir(parents=True, exist_ok=True)
    root = _common_folder(list(output.paths()))
    for source in output.paths():
        target = directory / source.relative_to(root)
        if source == target:
            continue
        for path in files_below(source) if source.is_dir() else [source]:
            copy_file(path, target / path.relative_to(source))
    write_output(output.moved(root, directory), directory)


def _paths_in(value: object) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _paths_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _paths_in(part)


def _move(value: object, old: Path, new: Path) -> object:
    if isinstance(value, Path):
        if old == Path():
            return value if value.is_absolute() else new / value
        return new / value.relative_to(old) if value.is_relative_to(old) else value
    if isinstance(value, Mapping):
        return {key: _move(part, old, new) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_move(part, old, new) for part in value)
    return value


def _common_folder(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
