"""`Recipe`: the declarative specification of a run, a plain mapping with a memory of where each key was written."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import yaml

from qairt.errors import RecipeError
from qairt.recipe_source import KeyPath, load_yaml, read_text

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

SUPPORTED = (".yaml", ".yml")
COMMAND_LINE = "command line"


class Recipe(dict[str, Any]):
    """Pipeline configuration: arbitrary keys and values in insertion order.

    Args:
        schema: JSON Schema to validate against, if any.
    """

    def __init__(self, *args: Any, schema: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._schema = schema
        self._lines: dict[KeyPath, int] = {}
        self._overridden: set[KeyPath] = set()
        self.source: Path | None = None
        """The file it was read from."""

    @property
    def schema(self) -> dict[str, Any] | None:
        """The current schema for this recipe."""
        return self._schema

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
            yaml.YAMLError: it is not valid YAML, or repeats a key; also a `RecipeError` with file and line.
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
        """
        path = Path(path)
        settings: dict[str, Any] = {"sort_keys": False, "allow_unicode": True} | kwargs
        text = str(yaml.dump(self, Dumper=_Dumper, **settings))
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    # Validating

    def validate(self, schema: dict[str, Any] | None = None) -> None:
        """Validate against a JSON Schema; the one given at construction when `schema` is None.

        Raises:
            ValueError: names every fault with its place.
        """
        schema = schema if schema is not None else self._schema
        if schema is None:
            return
        from jsonschema import Draft202012Validator

        faults = []
        for error in sorted(Draft202012Validator(schema).iter_errors(dict(self)), key=lambda error: list(error.path)):
            path = tuple(str(step) for step in error.absolute_path)
            if error.validator == "additionalProperties":
                known = list(error.schema.get("properties", {}))
                unknown = [key for key in error.instance if key not in known]
                faults += [self._unknown((*path, str(key)), known) for key in unknown]
            else:
                faults.append(RecipeError(f"{'.'.join(path) or 'the recipe'}: {error.message}", where=self.where(path)))
        if faults:
            raise faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=faults)

    # Overriding

    def override(self, assignments: Iterable[str]) -> None:
        """Apply `KEY=VALUE` words with dotted keys; values are YAML (`[1, 128]`, `true`, `lpbq.yaml`).

        Raises:
            RecipeError: a word has no `=`, no key, or a value that is not YAML; names the word.
        """
        for word in assignments:
            key, equals, text = word.partition("=")
            steps = tuple(key.strip().split("."))
            if not equals or not all(steps):
                raise RecipeError(
                    f"{word!r} does not set anything",
                    where=COMMAND_LINE,
                    remedy="write KEY=VALUE with a dotted key, such as stages.split_model.num_splits=3",
                )
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise RecipeError(
                    f"the value of {word!r} is not YAML", where=COMMAND_LINE, remedy="quote it, or close its brackets"
                ) from error
            self._set(steps, value, word)

    def _set(self, steps: KeyPath, value: Any, word: str) -> None:
        place: dict[str, Any] = self
        for step in steps[:-1]:
            inner = place.setdefault(step, {})
            if inner is None:
                inner = place[step] = {}
            if not isinstance(inner, dict):
                raise RecipeError(
                    f"{word!r} sets something inside {step}, which is {inner!r}",
                    where=COMMAND_LINE,
                    remedy="set it whole",
                )
            place = inner
        place[steps[-1]] = value
        self._overridden.add(steps)

    # Where things were written

    def where(self, path: str | Sequence[str]) -> str:
        """`file:line` of a key, of its nearest parent that was written down, or `command line` if it was overridden."""
        steps = tuple(path.split(".")) if isinstance(path, str) else tuple(path)
        for count in range(len(steps), 0, -1):
            if steps[:count] in self._overridden:
                return COMMAND_LINE
        name = str(self.source) if self.source else "recipe"
        for count in range(len(steps), 0, -1):
            if steps[:count] in self._lines:
                return f"{name}:{self._lines[steps[:count]]}"
        return name

    def _unknown(self, path: KeyPath, known: Iterable[str]) -> RecipeError:
        return unknown_key(path, known, self.where(path))


class _Dumper(yaml.SafeDumper):
    """Writes a Recipe as a plain mapping."""


def recipe_representer(dumper: yaml.SafeDumper, data: Recipe) -> yaml.MappingNode:
    """Represent a Recipe as a plain YAML mapping."""
    return dumper.represent_mapping("tag:yaml.org,2002:map", data.items())


_Dumper.add_representer(Recipe, recipe_representer)
_Dumper.add_multi_representer(Path, lambda dumper, path: dumper.represent_str(str(path)))
yaml.SafeDumper.add_representer(Recipe, recipe_representer)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, if one does."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def unknown_key(path: KeyPath, known: Iterable[str], where: str) -> RecipeError:
    """The error for a key that does not exist."""
    names = list(known)
    parent = path[-2] if len(path) > 1 else "a recipe"
    close = nearest(path[-1], names)
    remedy = f"did you mean {close}?" if close else f"its settings: {', '.join(names) or 'none'}"
    return RecipeError(f"{'.'.join(path)} is not a setting of {parent}", where=where, remedy=remedy)


def faults_from_pydantic(
    error: ValidationError, recipe: Recipe, prefix: KeyPath, model: type[BaseModel]
) -> list[RecipeError]:
    """A pydantic error of `model` as recipe errors, one for each fault, with file:line and the nearest valid name."""
    faults = []
    for detail in error.errors():
        path = (*prefix, *(str(step) for step in detail["loc"]))
        if detail["type"] == "extra_forbidden":
            faults.append(unknown_key(path, _fields_at(model, detail["loc"][:-1]), recipe.where(path)))
            continue
        if detail["type"] == "missing":
            faults.append(RecipeError(f"{'.'.join(path)} is missing", where=recipe.where(path[:-1]), remedy="add it"))
            continue
        cause = detail.get("ctx", {}).get("error")
        problem = str(cause) if cause else f"{detail['msg'][0].lower()}{detail['msg'][1:]}, not {detail['input']!r}"
        faults.append(RecipeError(f"{'.'.join(path)}: {problem}", where=recipe.where(path), remedy="change its value"))
    return faults


def _fields_at(model: type[BaseModel], place: Sequence[Any]) -> list[str]:
    """The settings that exist at `place` inside `model`."""
    for step in place:
        info = model.model_fields.get(str(step))
        inner = (
            next((arg for arg in _types_in(info.annotation) if hasattr(arg, "model_fields")), None) if info else None
        )
        if inner is not None:
            model = inner
    return list(model.model_fields)


def _types_in(annotation: Any) -> Iterable[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _types_in(argument)


def shipped_recipes() -> Path:
    """The folder of recipes that come with qairt: in the package, or at the top of a source checkout."""
    package = Path(__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def find_nested(name: str, beside: Path | None, folder: str) -> Path:
    """A file that a recipe names: beside the recipe, then among the shipped ones in `folder`.

    Raises:
        RecipeError: it is in neither; says where it was looked for and what there is.
    """
    places = [Path(name)] if Path(name).is_absolute() else []
    if not places:
        places = [(beside or Path()) / name, (beside or Path()) / folder / name, shipped_recipes() / folder / name]
    for place in places:
        if place.is_file():
            return place.absolute()
    shipped = sorted(path.name for path in (shipped_recipes() / folder).glob("*.yaml"))
    close = nearest(name, shipped)
    raise RecipeError(
        f"{name} does not exist",
        where=", ".join(str(place.parent) for place in places),
        remedy=f"did you mean {close}?" if close else f"qairt ships {', '.join(shipped)}",
    )
