"""`Recipe`: the declarative specification of a run, a plain mapping that knows where each key was written."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from qairt.errors import RecipeError
from qairt.files import write_atomic
from qairt.printable import as_written
from qairt.recipe.faults import combined, faults_from_schema
from qairt.recipe.olive import refuse_olive, refuse_olive_file
from qairt.recipe.places import COMMAND_LINE, LocatedMapping, key_in, paths_below
from qairt.recipe.source import KeyPath, PlainDumper, load_value, load_yaml
from qairt.recipe.syntax import MAX_DEPTH, RecipeSyntaxError, read_text

SUPPORTED = (".yaml", ".yml")

JsonSchema = dict[str, Any]


class Recipe(LocatedMapping):
    """Pipeline configuration: arbitrary keys and values in insertion order.

    Args:
        schema: JSON Schema to validate against, if any.
    """

    def __init__(self, *args: Any, schema: JsonSchema | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._schema = schema
        self.overrides: tuple[str, ...] = ()
        """The `KEY=VALUE` arguments that were applied to it."""

    @property
    def schema(self) -> JsonSchema | None:
        """The current schema for this recipe."""
        return self._schema

    def copy(self) -> Self:
        """A shallow copy that knows where the values were written."""
        return copy.copy(self)

    # From and to files

    @classmethod
    def from_file(cls, path: str | Path, schema: JsonSchema | None = None) -> Self:
        """Load a recipe, dispatching on the file extension: `.yaml`, `.yml`.

        Raises:
            ValueError: the extension is not supported.
            FileNotFoundError: the file does not exist.
        """
        if Path(path).suffix.lower() == ".json":
            refuse_olive_file(Path(path))
        if Path(path).suffix.lower() not in SUPPORTED:
            raise RecipeError(
                f"{Path(path).suffix or 'no extension'} is not a recipe's extension",
                where=str(path),
                remedy=f"a recipe is a {' or '.join(SUPPORTED)} file",
            )
        return cls.from_yaml(path, schema)

    @classmethod
    def from_yaml(cls, path: str | Path, schema: JsonSchema | None = None) -> Self:
        """Load a recipe from a YAML file.

        Raises:
            FileNotFoundError: the file does not exist.
            yaml.YAMLError: it is not valid YAML, or sets a key twice; also a `RecipeError` with file and line.
        """
        path = Path(path)
        content, lines = load_yaml(read_text(path), str(path))
        refuse_olive(content, path)
        recipe = cls({key: _as_section(value, path, lines) for key, value in content.items()}, schema=schema)
        recipe._lines = lines
        recipe.source = path
        return recipe

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe with the same settings, to be changed on its own.

        A plain mapping made from a recipe, such as `dict(recipe)`, still knows the file of what it holds: paths are
        relative to it, and errors name its lines.
        """
        if isinstance(settings, cls):
            return copy.deepcopy(settings)
        recipe = cls(copy.deepcopy(dict(settings)))
        for key, value in settings.items():
            if isinstance(value, Section):
                recipe.source = value.source
                recipe._lines |= {path: line for path, line in value.lines.items() if path[0] == str(key)}
        return recipe

    def to_yaml(self, path: str | Path, **kwargs: Any) -> None:
        """Save to a YAML file, whole or not at all.

        Args:
            kwargs: forwarded to `yaml.dump`.

        Raises:
            FileNotFoundError: the folder does not exist.
            RecipeError: a value is neither text, number, bool, list, mapping nor path; names it.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        settings: dict[str, Any] = {"Dumper": PlainDumper, "sort_keys": False, "allow_unicode": True} | kwargs
        try:
            text: str | bytes = yaml.dump(self, **settings)
        except yaml.representer.RepresenterError as error:
            raise RecipeError(
                f"YAML cannot represent {error.args[-1]!r}",
                where=str(path),
                remedy="write it as text, a list or a mapping",
            ) from error
        except RecursionError as error:
            raise RecipeError("the recipe is nested too deeply", where=str(path), remedy="flatten it") from error
        write_atomic(path, text)

    # Validating

    def validate(self, schema: JsonSchema | None = None) -> None:
        """Validate against a JSON Schema; the one given at construction when `schema` is None.

        Raises:
            ValueError: names every fault and where it was written.
        """
        schema = schema if schema is not None else self._schema
        faults = faults_from_schema(self, schema) if schema is not None else []
        if faults:
            raise combined(faults)

    # Overriding

    def override(self, assignments: Sequence[str]) -> None:
        """Apply `KEY=VALUE` assignments with dotted keys; values are YAML (`[1, 128]`, `true`, `lpbq.yaml`).

        All of them or, when one is wrong, none. A file name among the values is relative to the working directory.

        Raises:
            RecipeError: an assignment has no `=`, no key, a value that is not YAML, or a key inside something that is
                no mapping; names the assignment.
        """
        changed = copy.deepcopy(self)
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            steps = changed.path_of(key.strip())
            if len(steps) > MAX_DEPTH:
                what = f"{assignment:.40}… is nested more than {MAX_DEPTH} deep"
                raise RecipeError(what, where=COMMAND_LINE, remedy="flatten it")
            if not equals or not steps:
                raise RecipeError(
                    f"{assignment!r} does not set anything",
                    where=COMMAND_LINE,
                    remedy="write KEY=VALUE with a dotted key, such as stages.split_model.num_splits=3",
                )
            try:
                value = load_value(text)
            except RecipeSyntaxError as error:
                problem = error.what.removeprefix("this is not valid YAML: ")
                raise RecipeError(
                    f"the value of {assignment!r} is not one YAML value: {problem}",
                    where=COMMAND_LINE,
                    remedy=error.remedy,
                ) from error
            changed._assign(steps, value, assignment)
        self.clear()
        self.update(changed)
        self._overridden = changed._overridden
        self.overrides = (*self.overrides, *assignments)

    def _assign(self, steps: KeyPath, value: object, assignment: str) -> None:
        container: Any = self
        for count, step in enumerate(steps):
            key = key_in(container, step)
            if key is None:
                raise RecipeError(
                    f"{assignment!r} sets something inside {'.'.join(steps[:count])}, which is {as_written(container)}",
                    where=COMMAND_LINE,
                    remedy="use an index that exists" if isinstance(container, list) else "set it as a whole",
                )
            if count == len(steps) - 1:
                container[key] = value
                self._overridden = {path for path in self._overridden if path[: len(steps)] != steps}
                self._overridden.update(paths_below(steps, value))
            elif isinstance(container, dict) and container.get(key) is None:
                container[key] = {}
                self._overridden.add(steps[: count + 1])
            container = container[key]

    def take(self, path: KeyPath) -> Any:
        """Remove a value, and mappings that are empty without it; returns it.

        Raises:
            KeyError: there is none.
        """
        container: Any = self
        for step in path[:-1]:
            container = container[key_in(container, step)]
        value = container.pop(key_in(container, path[-1]))
        if not container and len(path) > 1:
            self.take(path[:-1])
        return value

    def move(self, old: KeyPath, new: KeyPath) -> None:
        """Give a value, with everything inside it, another key; where each was written is still known.

        Raises:
            KeyError: there is no value at `old`.
            RecipeError: a value on the way to `new` is not a mapping.
        """
        inside = [*paths_below(old, self.at(old))]
        lines = {path: self._lines[path] for path in inside if path in self._lines}
        overridden = [path for path in inside if path in self._overridden]
        line = self.line(old)
        self._fill(new, self.take(old), line)
        self._lines |= {(*new, *path[len(old) :]): line for path, line in lines.items()}
        self._overridden |= {(*new, *path[len(old) :]) for path in overridden}

    def mount(self, path: KeyPath, value: object, where: str) -> None:
        """Set a value that another file has at `where`, creating the mappings around it.

        Raises:
            RecipeError: a value on the way is not a mapping.
        """
        self._fill(path, value, 0)
        self._lines.pop(path, None)
        self.note_preset(path, where, value)

    def put(self, path: KeyPath, value: object, like: KeyPath) -> None:
        """Set a value, creating the mappings around it, as if it had been written where `like` was.

        Raises:
            RecipeError: a value on the way is not a mapping.
        """
        line, overridden = self.line(like), like in self._overridden
        self._fill(path, value, line)
        if line:
            self._lines[path] = line
        if overridden:
            self._overridden.update(paths_below(path, value))

    def _fill(self, path: KeyPath, value: object, line: int) -> None:
        """Set a value, creating the mappings around it, as if written on `line`; 0 if that is not known.

        Raises:
            RecipeError: a value on the way is not a mapping.
        """
        container: Any = self
        for count, step in enumerate(path, 1):
            key = key_in(container, step)
            if not isinstance(container, dict):
                what = f"{'.'.join(path)} is inside {'.'.join(path[: count - 1])}, which is not a mapping"
                raise RecipeError(what, where=self.where(path), remedy="make it a mapping")
            if count == len(path):
                container[key] = value
            elif container.get(key) is None:
                container[key] = {}
            container = container[key]
            if line:
                self._lines.setdefault(path[:count], line)


class Section(dict[str, Any]):
    """A mapping at the top of a recipe that was read from a file; it remembers the file when it leaves the recipe."""

    def __init__(self, content: Mapping[str, Any], source: Path, lines: Mapping[KeyPath, int]) -> None:
        super().__init__(content)
        self.source = source
        self.lines = lines
        """Of the whole file, by path."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Section:
        return Section({key: copy.deepcopy(value, memo) for key, value in self.items()}, self.source, self.lines)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def _as_section(value: object, source: Path, lines: Mapping[KeyPath, int]) -> object:
    return Section(value, source, lines) if isinstance(value, dict) else value


def recipe_representer(dumper: yaml.representer.SafeRepresenter, data: Recipe) -> yaml.MappingNode:
    """Represent a Recipe as a plain YAML mapping."""
    return dumper.represent_mapping("tag:yaml.org,2002:map", dict(data))


_BASES = (yaml.representer.SafeRepresenter, yaml.representer.Representer)  # of the dumpers written in C
for _dumper in (*_BASES, PlainDumper, yaml.SafeDumper, yaml.Dumper):
    _dumper.add_multi_representer(Recipe, recipe_representer)
    _dumper.add_representer(Section, yaml.representer.SafeRepresenter.represent_dict)
PlainDumper.add_multi_representer(Path, lambda dumper, path: dumper.represent_str(str(path)))
