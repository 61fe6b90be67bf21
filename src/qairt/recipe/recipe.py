"""`Recipe`: the declarative specification of a run, a plain mapping with a memory of where each key was written."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from qairt.errors import RecipeError
from qairt.recipe.faults import faults_from_pydantic, faults_from_schema, together, unknown_key
from qairt.recipe.files import find_nested, shipped_recipes
from qairt.recipe.names import nearest
from qairt.recipe.source import KeyPath, PlainDumper, RecipeSyntaxError, load_value, load_yaml, read_text

__all__ = [
    "COMMAND_LINE",
    "KeyPath",
    "Recipe",
    "faults_from_pydantic",
    "find_nested",
    "nearest",
    "recipe_representer",
    "shipped_recipes",
    "unknown_key",
]

SUPPORTED = (".yaml", ".yml")
COMMAND_LINE = "command line"

_STEP = re.compile(r""""([^"]*)"|'([^']*)'|([^."'][^.]*)""")


class Recipe(dict[str, Any]):
    """Pipeline configuration: arbitrary keys and values in insertion order.

    Args:
        schema: JSON Schema to validate against, if any.

    Paths into it are dotted (`stages.split_model.num_splits`) or sequences of keys, for keys that hold dots; items of
    lists go by their index.
    """

    def __init__(self, *args: Any, schema: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._schema = schema
        self._lines: dict[KeyPath, int] = {}
        self._overridden: set[KeyPath] = set()
        self._presets: dict[KeyPath, str] = {}
        self.source: Path | None = None
        """The file it was read from."""
        self.overrides: tuple[str, ...] = ()
        """The words that were applied over it."""

    @property
    def schema(self) -> dict[str, Any] | None:
        """The current schema for this recipe."""
        return self._schema

    def copy(self) -> Self:
        """A shallow copy that knows the same places."""
        return copy.copy(self)

    # From and to files

    @classmethod
    def from_file(cls, path: str | Path, schema: dict[str, Any] | None = None) -> Self:
        """Load a recipe, dispatching on the file extension: `.yaml`, `.yml`.

        Raises:
            ValueError: the extension is not supported.
            FileNotFoundError: the file does not exist.
        """
        if Path(path).suffix.lower() not in SUPPORTED:
            raise RecipeError(
                f"{Path(path).suffix or 'no extension'} is not a recipe's extension",
                where=str(path),
                remedy=f"a recipe is a {' or '.join(SUPPORTED)} file",
            )
        return cls.from_yaml(path, schema)

    @classmethod
    def from_yaml(cls, path: str | Path, schema: dict[str, Any] | None = None) -> Self:
        """Load a recipe from a YAML file.

        Raises:
            FileNotFoundError: the file does not exist.
            yaml.YAMLError: it is not valid YAML, or sets a key twice; also a `RecipeError` with file and line.
        """
        path = Path(path)
        content, lines = load_yaml(read_text(path), str(path))
        recipe = cls(content, schema=schema)
        recipe._lines = lines
        recipe.source = path
        return recipe

    def to_yaml(self, path: str | Path, **kwargs: Any) -> None:
        """Save to a YAML file, whole or not at all.

        Args:
            kwargs: forwarded to `yaml.dump`.

        Raises:
            FileNotFoundError: the folder does not exist.
            RecipeError: a value is neither text, number, bool, list, mapping nor path; names it.
        """
        path = Path(os.path.realpath(path))  # behind a link, the file is replaced and not the link
        settings: dict[str, Any] = {"Dumper": PlainDumper, "sort_keys": False, "allow_unicode": True} | kwargs
        try:
            text = yaml.dump(self, **settings)
        except yaml.representer.RepresenterError as error:
            raise RecipeError(
                f"YAML cannot hold {error.args[-1]!r}", where=str(path), remedy="give it as text, a list or a mapping"
            ) from error
        except RecursionError as error:
            raise RecipeError("it is nested too deeply", where=str(path), remedy="make it flatter") from error
        replace_file(path, text if isinstance(text, bytes) else text.encode())

    # Validating

    def validate(self, schema: dict[str, Any] | None = None) -> None:
        """Validate against a JSON Schema; the one given at construction when `schema` is None.

        Raises:
            ValueError: names every fault with its place.
        """
        schema = schema if schema is not None else self._schema
        faults = faults_from_schema(self, schema) if schema is not None else []
        if faults:
            raise together(faults)

    # Overriding

    def override(self, assignments: Sequence[str]) -> None:
        """Apply `KEY=VALUE` words with dotted keys; values are YAML (`[1, 128]`, `true`, `lpbq.yaml`).

        All of them or, when one is wrong, none.

        Raises:
            RecipeError: a word has no `=`, no key, a value that is not YAML, or a place that cannot be; names the word.
        """
        changed = copy.deepcopy(self)
        for word in assignments:
            key, equals, text = word.partition("=")
            steps = changed.path_of(key.strip())
            if not equals or not steps:
                raise RecipeError(
                    f"{word!r} does not set anything",
                    where=COMMAND_LINE,
                    remedy="write KEY=VALUE with a dotted key, such as stages.split_model.num_splits=3",
                )
            try:
                value = load_value(text)
            except RecipeSyntaxError as error:
                problem = error.what.removeprefix("this is not valid YAML: ")
                raise RecipeError(
                    f"the value of {word!r} is not one YAML value: {problem}", where=COMMAND_LINE, remedy=error.remedy
                ) from error
            changed._set(steps, value, word)
        self.clear()
        self.update(changed)
        self._overridden = changed._overridden
        self.overrides = (*self.overrides, *assignments)

    def _set(self, steps: KeyPath, value: Any, word: str) -> None:
        place: Any = self
        for count, step in enumerate(steps):
            key = _key_in(place, step)
            if key is None:
                raise RecipeError(
                    f"{word!r} sets something inside {'.'.join(steps[:count])}, which is {place!r}",
                    where=COMMAND_LINE,
                    remedy="give it an index that exists" if isinstance(place, list) else "set it whole",
                )
            if count == len(steps) - 1:
                place[key] = value
                self._overridden = {path for path in self._overridden if path[: len(steps)] != steps}
                self._overridden.update(_paths(steps, value))
            elif isinstance(place, dict) and place.get(key) is None:
                place[key] = {}
                self._overridden.add(steps[: count + 1])
            place = place[key]

    def take(self, path: KeyPath) -> Any:
        """Remove a value, and mappings that are empty without it; returns it.

        Raises:
            KeyError: there is none.
        """
        place: Any = self
        for step in path[:-1]:
            place = place[_key_in(place, step)]
        value = place.pop(_key_in(place, path[-1]))
        if not place and len(path) > 1:
            self.take(path[:-1])
        return value

    def put(self, path: KeyPath, value: Any, like: KeyPath) -> None:
        """Set a value, with mappings around it as needed, as if it had been written where `like` was.

        Raises:
            RecipeError: something that is no mapping is in the way.
        """
        line, given = self.line(like), like in self._overridden
        place: Any = self
        for count, step in enumerate(path, 1):
            key = _key_in(place, step)
            if not isinstance(place, dict):
                what = f"{'.'.join(path)} stands inside {'.'.join(path[: count - 1])}, which is no mapping"
                raise RecipeError(what, where=self.where(path), remedy="make it a mapping")
            if count == len(path):
                place[key] = value
            elif place.get(key) is None:
                place[key] = {}
            place = place[key]
            if line:
                self._lines.setdefault(path[:count], line)
        if line:
            self._lines[path] = line
        if given:
            self._overridden.update(_paths(path, value))

    # Paths, and where things were written

    def path_of(self, path: str | Sequence[str | int]) -> KeyPath:
        """A path as its steps.

        A dotted path is taken apart at its dots, except where a key of the recipe holds them or quotes surround them;
        `()` when it has an empty step.
        """
        if not isinstance(path, str):
            return tuple(str(step) for step in path)
        steps = _split(path)
        place: Any = self
        found: list[str] = []
        while steps:
            known = {str(key) for key in place} if isinstance(place, dict) else set()
            width = next((n for n in range(len(steps), 1, -1) if ".".join(steps[:n]) in known), 1)
            step = ".".join(steps[:width])
            found.append(step)
            steps = steps[width:]
            key = _key_in(place, step)
            place = place[key] if key is not None and (isinstance(place, list) or key in place) else None
        return tuple(found)

    def at(self, path: str | Sequence[str | int], default: Any = None) -> Any:
        """The value at a path, `default` when there is none."""
        place: Any = self
        for step in self.path_of(path):
            key = _key_in(place, step)
            if key is None or (isinstance(place, dict) and key not in place):
                return default
            place = place[key]
        return place

    def where(self, path: str | Sequence[str | int]) -> str:
        """Where a value, or the nearest thing around it that was written, comes from: `file:line` or `command line`."""
        steps = self.path_of(path)
        for count in range(len(steps), 0, -1):
            if place := self.origin(steps[:count]):
                return place
        return self._name

    def origin(self, path: str | Sequence[str | int]) -> str | None:
        """Where exactly this value was written: `file:line`, `command line`, or None if it was not."""
        steps = self.path_of(path)
        if steps in self._overridden:
            return COMMAND_LINE
        return f"{self._name}:{self._lines[steps]}" if steps in self._lines else None

    def note_preset(self, path: KeyPath, where: str) -> None:
        """Remember that a file of settings, mounted at a place, says something of `path`."""
        self._presets[path] = where

    def preset_origin(self, path: Sequence[str]) -> str | None:
        """`file:line` of a preset that holds this value, unless the recipe or the command line says otherwise."""
        steps = tuple(path)
        return self._presets.get(steps) if self.origin(steps) is None else None

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a value or of the nearest thing around it, 0 if none is known; for sorting."""
        steps = tuple(str(step) for step in path)
        return next((self._lines[steps[:n]] for n in range(len(steps), 0, -1) if steps[:n] in self._lines), 0)

    @property
    def _name(self) -> str:
        return str(self.source) if self.source else "recipe"


def recipe_representer(dumper: yaml.representer.SafeRepresenter, data: Recipe) -> yaml.MappingNode:
    """Represent a Recipe as a plain YAML mapping."""
    return dumper.represent_mapping("tag:yaml.org,2002:map", dict(data))


_BASES = (yaml.representer.SafeRepresenter, yaml.representer.Representer)  # of the dumpers written in C
for _dumper in (*_BASES, PlainDumper, yaml.SafeDumper, yaml.Dumper):
    _dumper.add_multi_representer(Recipe, recipe_representer)
PlainDumper.add_multi_representer(Path, lambda dumper, path: dumper.represent_str(str(path)))


def _split(path: str) -> list[str]:
    """`a."b.c".d` as its steps; none when a step is empty."""
    steps, place = [], 0
    while match := _STEP.match(path, place):
        steps.append(next(text for text in match.groups() if text is not None))
        place = match.end()
        if place == len(path):
            return steps
        if path[place] != ".":
            break
        place += 1
    return []


def _paths(start: KeyPath, value: Any) -> Iterator[KeyPath]:
    """The path of a value and of all that is in it."""
    yield start
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from _paths((*start, str(key)), inner)


def _key_in(place: Any, step: str) -> Any:
    """The key of a container that is written as `step`: of a mapping also a new one, of a list an index that exists."""
    if isinstance(place, dict):
        return next((key for key in place if str(key) == step), step)
    if isinstance(place, list) and step.isdecimal() and int(step) < len(place):
        return int(step)
    return None


def replace_file(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it; its mode stays."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
