"""Where each value of a recipe was written: a line of its file, the command line, or a preset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qairt.errors import RecipeError
from qairt.recipe.source import KeyPath

COMMAND_LINE = "command line"

_STEP = re.compile(r""""([^"]*)"|'([^']*)'|([^."'][^.]*)""")


class LocatedMapping(dict[str, Any]):
    """A mapping that knows where its values were written.

    Paths into it are dotted (`stages.split_model.num_splits`) or sequences of keys, for keys that contain dots; items
    of lists go by their index.
    """

    source: Path | None = None
    """The file it was read from."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lines: dict[KeyPath, int] = {}
        self._overridden: set[KeyPath] = set()
        self._presets: dict[KeyPath, tuple[str, object]] = {}
        self._resolved: dict[KeyPath, tuple[object, object]] = {}
        self.missing_files: dict[str, RecipeError] = {}
        """By dotted setting: the error for a file that it names and that does not exist."""

    def path_of(self, path: str | Sequence[str | int]) -> KeyPath:
        """A path as its steps.

        A dotted path is split at its dots, except where a key of the recipe contains them or is quoted; `()` when a
        step is empty.
        """
        if not isinstance(path, str):
            return tuple(str(step) for step in path)
        steps = _split(path)
        container: object = self
        found: list[str] = []
        while steps:
            known = {str(key) for key in container} if isinstance(container, dict) else set()
            width = next((n for n in range(len(steps), 1, -1) if ".".join(steps[:n]) in known), 1)
            step = ".".join(steps[:width])
            found.append(step)
            steps = steps[width:]
            container = child(container, step)
        return tuple(found)

    def at(self, path: str | Sequence[str | int], default: object = None) -> Any:
        """The value at a path, `default` when there is none."""
        value: object = self
        for step in self.path_of(path):
            value = child(value, step, ABSENT)
            if value is ABSENT:
                return default
        return value

    def where(self, path: str | Sequence[str | int]) -> str:
        """Where a value, or the nearest written value that contains it, comes from: `file:line` of the recipe or of a
        preset, or `command line`."""
        steps = self.path_of(path)
        for count in range(len(steps), 0, -1):
            if origin := self.origin(steps[:count]) or self._presets.get(steps[:count], ("", None))[0]:
                return origin
        return self._name

    def origin(self, path: str | Sequence[str | int]) -> str | None:
        """Where exactly this value was written: `file:line`, `command line`, or None if it was not."""
        steps = self.path_of(path)
        if steps in self._overridden:
            return COMMAND_LINE
        return f"{self._name}:{self._lines[steps]}" if steps in self._lines else None

    def note_preset(self, path: KeyPath, where: str, value: object) -> None:
        """Remember that a preset sets `path`, which the recipe does not set."""
        self._presets[path] = where, value

    def own_files(self) -> list[Path]:
        """The file it was read from, and those of the presets in it."""
        presets = dict.fromkeys(Path(where.rpartition(":")[0]) for where, _ in self._presets.values() if ":" in where)
        return [*([self.source] if self.source else []), *presets]

    def preset_values(self, path: KeyPath) -> dict[KeyPath, object]:
        """What presets added below `path`."""
        return {steps: value for steps, (_, value) in self._presets.items() if steps[: len(path)] == path}

    def preset_origin(self, path: Sequence[str]) -> str | None:
        """`file:line` of the preset that sets this value, unless the recipe or the command line overrides it."""
        steps = tuple(path)
        return self._presets[steps][0] if steps in self._presets and self.origin(steps) is None else None

    def note_resolved(self, path: KeyPath, written: object, absolute: str) -> None:
        """Remember what the user wrote for a file whose absolute path is used from here on."""
        self._resolved[path] = written, absolute

    def as_written(self, path: KeyPath, value: object) -> object:
        """`value`, or what the user wrote for it where it is the absolute path of a file."""
        written, absolute = self._resolved.get(path, (value, None))
        return written if str(value) == absolute else value

    def located(self, error: RecipeError) -> RecipeError:
        """An error about a dotted setting, its `where`, with the file and line of the setting."""
        setting = error.where or ""
        return RecipeError(f"{setting}: {error.what}", where=self.where(setting), remedy=error.remedy)

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a value or of the nearest written value that contains it, 0 if none is known; for sorting."""
        steps = tuple(str(step) for step in path)
        return next((self._lines[steps[:n]] for n in range(len(steps), 0, -1) if steps[:n] in self._lines), 0)

    @property
    def _name(self) -> str:
        return str(self.source) if self.source else "recipe"


ABSENT = object()
"""A default of `LocatedMapping.at` and `child` that no recipe holds."""


def key_in(container: object, step: str) -> Any:
    """The key of a container that is written as `step`: in a mapping also a new one, in a list an index that exists."""
    if isinstance(container, dict):
        return next((key for key in container if str(key) == step), step)
    if isinstance(container, list) and step.isdecimal() and int(step) < len(container):
        return int(step)
    return None


def child(container: object, step: str, default: object = None) -> object:
    """What a container holds at `step`, `default` when there is nothing."""
    key = key_in(container, step)
    if isinstance(container, dict):
        return container.get(key, default)
    return container[key] if isinstance(container, list) and key is not None else default


def paths_below(start: KeyPath, value: object) -> Iterator[KeyPath]:
    """The path of a value and of everything inside it."""
    yield start
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from paths_below((*start, str(key)), inner)


def _split(path: str) -> list[str]:
    """`a."b.c".d` as its steps; none when a step is empty."""
    steps, start = [], 0
    while match := _STEP.match(path, start):
        steps.append(next(text for text in match.groups() if text is not None))
        start = match.end()
        if start == len(path):
            return steps
        if path[start] != ".":
            break
        start += 1
    return []


def leaves(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Each value that is not a mapping of others, with its path; an empty mapping is one.

    Args:
        path: of `value` itself.
    """
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, str(key)))
    else:
        yield path, value
