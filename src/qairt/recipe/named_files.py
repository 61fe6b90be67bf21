"""Every file that a recipe is made of or names, and whether one has changed since it was read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from qairt.recipe.places import LocatedMapping

Stamps = Mapping[Path, tuple[int, int, int] | None]
"""Size, time of change in ns and inode of each file; None for one that does not exist."""

_MANY = 1000
"""Files of one folder that are looked at."""


def named_files(recipe: LocatedMapping, configs: Iterable[BaseModel]) -> list[Path]:
    """The recipe's own files, and those that its values name; of a folder the files in it.

    Args:
        configs: settings of stages, whose defaults may name more.
    """
    found = dict.fromkeys(recipe.own_files())
    for value in (*_leaves(recipe), *(leaf for config in configs for leaf in _leaves(config.model_dump()))):
        if isinstance(value, (str, Path)) and os.path.isabs(value) and "\0" not in str(value):
            found[Path(value)] = None
            found |= dict.fromkeys(_files_in(Path(value)))
    return list(found)


def stamps_of(files: Iterable[Path]) -> Stamps:
    """The present state of files."""
    return {file: _stamp(file) for file in files}


def changed_files(before: Stamps) -> list[Path]:
    """The files whose state is not what it was."""
    return [file for file, stamp in before.items() if _stamp(file) != stamp]


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """What an edit changed: `stages.fan.suffix: ! → ?`."""
    from qairt import keys

    found = keys.differing_leaves(keys.plain(before), keys.plain(now))
    return [f"{path}: {_short(old)} → {_short(new)}" for path, old, new in found]


def _short(value: object) -> str:
    text = "unset" if value is None else str(value) or "(empty)"
    return text if len(text) <= 40 else text[:39] + "…"


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _files_in(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry, _ in zip(entries, range(_MANY), strict=False) if entry.is_file()]
    except OSError:
        return []


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    if os.path.isdir(file):  # its time changes with every file that is written there
        return 0, 0, status.st_ino
    return status.st_size, status.st_mtime_ns, status.st_ino
