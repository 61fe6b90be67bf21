"""Faults of a recipe, one `RecipeError` for each: its path, where it was written, the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from qairt.errors import RecipeError
from qairt.printable import as_written
from qairt.recipe.names import nearest

if TYPE_CHECKING:
    from jsonschema import ValidationError as SchemaFault
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from qairt.recipe.places import LocatedMapping

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "empty",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


_MAX_SHOWN = 80
"""Characters of a wrong value that a message shows."""


def _shown(value: object) -> str:
    text = as_written(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def unknown_key(
    path: Sequence[str], known: Iterable[str], where: str, elsewhere: Sequence[str] = (), whole: str = "a recipe"
) -> RecipeError:
    """The error for an unknown key.

    Args:
        known: the keys beside it.
        elsewhere: dotted names of settings in other places, the likeliest first.
        whole: what the path begins in.
    """
    names = list(known)
    parent = path[-2] if len(path) > 1 else whole
    if parent == "set" and list(path[-4:-3]) == ["overrides"]:
        parent = path[-5]
    key = path[-1]
    here = nearest(key, names)
    by_name: dict[str, list[str]] = {}
    for dotted in elsewhere:
        by_name.setdefault(dotted.rpartition(".")[2], []).append(dotted)
    there = by_name.get(key) or ([] if here else by_name.get(nearest(key, by_name) or "", [])[:1])
    close = " or ".join(there[:2]) or here
    remedy = f"did you mean {close}?" if close else f"its settings: {', '.join(names) or 'none'}"
    return RecipeError(f"{'.'.join(path)} is not a setting of {parent}", where=where, remedy=remedy)


def combined(faults: Sequence[RecipeError]) -> RecipeError:
    """One error for one fault or several."""
    return faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=list(faults))


# From pydantic


def faults_from_pydantic(
    error: ValidationError,
    recipe: LocatedMapping,
    prefix: str | Sequence[str | int] = (),
    model: type[BaseModel] | None = None,
    elsewhere: Sequence[str] = (),
    whole: str = "a recipe",
) -> list[RecipeError]:
    """The recipe errors in a pydantic error, one for each setting.

    Args:
        prefix: the path of the part that was validated; `()` for the whole recipe.
        model: the model that it was validated against, for the names of its settings.
        elsewhere: dotted names of settings in other places of the recipe, for one that is misplaced.
        whole: what `recipe` holds the settings of.
    """
    start = recipe.path_of(prefix)
    problems: dict[tuple[str, ...], list[str]] = {}
    faults: dict[tuple[str, ...], RecipeError] = {}
    for detail in error.errors():
        path = (*start, *_written(recipe.at(start), detail["loc"], keep_last=detail["type"] == "missing"))
        if detail["type"] == "extra_forbidden":
            known = _fields_at(model, detail["loc"][:-1]) if model is not None else []
            faults[path] = unknown_key(path, known, recipe.where(path), elsewhere, whole)
        elif detail["type"] == "missing":
            what = f"{'.'.join(path)} is missing"
            faults[path] = RecipeError(what, where=recipe.where(path[:-1]), remedy="add it")
        else:
            # The branches of a union are reported as one fault.
            found = problems.setdefault(path, [])
            problem, value = _problem(detail)
            if problem not in found:
                found.append(problem)
            what = f"{'.'.join(path) or 'the recipe'}: {' or '.join(found)}{value}"
            faults[path] = RecipeError(what, where=recipe.where(path), remedy=_remedy(detail))
    # A fault inside one branch of a union says more than that the value does not have another branch's type.
    outer = {path[:count] for path in faults for count in range(len(path))}
    return [fault for path, fault in faults.items() if path not in outer]


_IN_PLAIN_WORDS = {
    "model_type": "input should be a mapping of settings",
    "model_attributes_type": "input should be a mapping of settings",
    "dict_type": "input should be a mapping",
    "bool_parsing": "input should be true or false",
    "bool_type": "input should be true or false",
    "path_type": "input should be a path",
}
"""Messages for the pydantic error types whose own messages speak of Python."""


def _problem(detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong, and the value where the message does not contain it."""
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Exception):
        return str(cause), ""
    if detail["type"] in _IN_PLAIN_WORDS:
        return _IN_PLAIN_WORDS[detail["type"]], f", not {_shown(detail['input'])}"
    if detail["type"] == "too_short":
        least = detail["ctx"]["min_length"]
        items = "item" if least == 1 else "items"
        return f"input should have at least {least} {items}", f", not {_shown(detail['input'])}"
    message = str(detail["msg"])
    joint = ", not " if message.startswith("Input should") else ": "
    return f"{message[0].lower()}{message[1:]}", f"{joint}{_shown(detail['input'])}"


def _remedy(detail: ErrorDetails) -> str:
    if detail["type"] in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
        if close := nearest(str(detail["input"]), choices, cutoff=0.75):  # CPU is similar to NPU, but not meant
            return f"did you mean {close}?"
        if len(choices) == 2:
            return f"use {choices[0]} or {choices[1]}"
    return "change its value"


def _written(value: object, location: Sequence[str | int], *, keep_last: bool) -> Iterator[str]:
    """The steps of a pydantic location that are keys of the recipe; the others name validators and union branches."""
    for index, step in enumerate(location):
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif not (keep_last and index == len(location) - 1):
            continue
        yield str(step)


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The names of the settings at `location` inside `model`."""
    for step in location:
        info = model.model_fields.get(str(step))
        model = next(_models_in(info.annotation), model) if info else model
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


# From a JSON Schema


def faults_from_schema(recipe: LocatedMapping, schema: dict[str, Any]) -> list[RecipeError]:
    """Every fault of a recipe against a JSON Schema, in the order of the file.

    Raises:
        RecipeError: the schema is not a valid one.
    """
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as wrong:
        path = ".".join(str(step) for step in wrong.absolute_path) or "its top level"
        raise RecipeError(f"{path}: {wrong.message}", where="schema", remedy="use a valid JSON Schema") from wrong
    found: dict[tuple[tuple[str, ...], str], RecipeError] = {}
    try:
        for top in kind(schema).iter_errors(_as_json(recipe)):
            for error in _most_specific(top):
                for steps, fault in _faults_of(error, recipe):
                    found.setdefault((steps, fault.what), fault)
    except Unresolvable as wrong:
        what = f"$ref {wrong.ref} does not exist"
        raise RecipeError(what, where="schema", remedy="use a valid JSON Schema") from wrong
    except RecursionError as wrong:
        what = "a $ref refers to itself, or the recipe is nested too deeply"
        raise RecipeError(what, where="schema", remedy="flatten it") from wrong
    return [found[key] for key in sorted(found, key=lambda key: (recipe.line(key[0]), key))]


def _as_json(value: object) -> Any:
    """The value as JSON Schema knows it: text keys, lists, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _most_specific(error: SchemaFault) -> list[SchemaFault]:
    """Of `anyOf` and `oneOf`, the faults of the one branch whose type fits; else the error itself."""
    if error.validator not in ("anyOf", "oneOf") or not error.context:
        return [error]
    branches: dict[str | int, list[SchemaFault]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    fitting = [faults for faults in branches.values() if not any(_is_type_fault(fault) for fault in faults)]
    return [deeper for fault in fitting[0] for deeper in _most_specific(fault)] if len(fitting) == 1 else [error]


def _is_type_fault(error: SchemaFault) -> bool:
    return error.validator == "type" and not error.relative_path


def _faults_of(error: SchemaFault, recipe: LocatedMapping) -> Iterator[tuple[tuple[str, ...], RecipeError]]:
    path = tuple(str(step) for step in error.absolute_path)
    name = ".".join(path) or "the recipe"
    schema: Any = error.schema
    expected: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        known = list(schema.get("properties", {}))
        patterns = list(schema.get("patternProperties", {}))
        for key in instance:
            if key not in known and not any(re.search(pattern, key) for pattern in patterns):
                yield (*path, key), unknown_key((*path, key), known, recipe.where((*path, key)))
        return
    if error.validator == "required":
        for key in expected:
            if key not in instance:
                what = f"{'.'.join((*path, key))} is missing"
                yield (*path, key), RecipeError(what, where=recipe.where(path), remedy="add it")
        return
    remedy = "change its value"
    what = f"{name}: {error.message}"
    if error.validator in ("enum", "const"):
        values = [str(value) for value in (expected if error.validator == "enum" else [expected])]
        close = nearest(str(error.instance), values)
        what = f"{name} must be {' or '.join(values)}, not {_shown(error.instance)}"
        remedy = f"did you mean {close}?" if close else remedy
    elif (kinds := _kinds(error)) is not None:
        what = f"{name} must be {kinds}, not {_shown(error.instance)}"
    yield path, RecipeError(what, where=recipe.where(path), remedy=remedy)


def _kinds(error: SchemaFault) -> str | None:
    """The expected types, where the type is wrong."""
    faults = [error] if error.validator == "type" else (error.context or [])
    if not faults or not all(_is_type_fault(fault) or fault is error for fault in faults):
        return None
    names: list[object] = []
    for fault in faults:
        expected: Any = fault.validator_value
        names += [expected] if isinstance(expected, str) else expected
    return " or ".join(dict.fromkeys(_KINDS.get(str(name), str(name)) for name in names))
