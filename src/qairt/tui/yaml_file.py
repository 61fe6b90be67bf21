"""A user's small YAML files: their values, the line of each key, and what a model finds wrong in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from qairt.recipe.names import nearest

_LONGEST = 60
"""Characters of a wrong value that a sentence shows."""


class NotAMapping(ValueError):  # noqa: N818 - reads as what happened
    """The file cannot be read, or holds something else than settings. Its text is a sentence with file and line."""


@dataclass
class YamlFile:
    """What one file says, and where."""

    path: Path
    text: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Line of each key, two levels deep."""

    def where(self, place: Sequence[Any]) -> str:
        """`file:line` of a setting, or of what it stands in."""
        steps = tuple(str(step) for step in place)
        line = next((self.lines[steps[:end]] for end in range(len(steps), 0, -1) if steps[:end] in self.lines), None)
        return f"{self.path}:{line}" if line else str(self.path)


def read_yaml(path: Path) -> YamlFile:
    """A file of settings; an empty one has none.

    Raises:
        NotAMapping: says what is wrong, and where.
        FileNotFoundError: there is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise NotAMapping(f"{path}: cannot be read: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise NotAMapping(f"{path}: is not UTF-8 text") from fault
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise NotAMapping(f"{where}: is not valid YAML: {' '.join((fault.problem or '').split())}") from fault
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise NotAMapping(f"{path}: is not valid YAML: {' '.join(str(fault).split())}") from fault
    if root is None or values is None:
        return YamlFile(path, text)
    if not isinstance(root, yaml.MappingNode) or not all(isinstance(key, str) for key in values):
        raise NotAMapping(f"{path}:{root.start_mark.line + 1}: should be lines of KEY: VALUE")
    return YamlFile(path, text, values, _lines(root, path))


def _lines(root: yaml.MappingNode, path: Path) -> dict[tuple[str, ...], int]:
    lines: dict[tuple[str, ...], int] = {}

    def walk(node: yaml.MappingNode, around: tuple[str, ...]) -> None:
        for key, value in node.value:
            steps = (*around, str(key.value))
            line = key.start_mark.line + 1
            if steps in lines:
                raise NotAMapping(f"{path}:{line}: {'.'.join(steps)} is set twice, first on line {lines[steps]}")
            lines[steps] = line
            if isinstance(value, yaml.MappingNode) and not around:
                walk(value, steps)

    walk(root, ())
    return lines


def in_words(error: Any, model: type[BaseModel]) -> str:
    """One entry of `ValidationError.errors()` without its place: `sate is not known; did you mean state?`."""
    place = [str(step) for step in error["loc"]]
    name = ".".join(place)
    if error["type"] == "extra_forbidden":
        known = fields_at(model, place[:-1])
        close = nearest(place[-1], known)
        return f"{name} is not known; " + (f"did you mean {close}?" if close else f"there are {', '.join(known)}")
    if error["type"] == "missing":
        return f"{name} is missing"
    cause = error.get("ctx", {}).get("error")
    said = str(cause) if cause is not None else _first_small(error["msg"])
    return f"{name}: {said}{_value(error['input'])}"


def _first_small(message: str) -> str:
    return message[0].lower() + message[1:]


def _value(value: Any) -> str:
    if value is None:
        return ", not empty"
    if isinstance(value, (dict, list)):
        return ", not a mapping" if isinstance(value, dict) else ", not a list"
    shown = repr(value)
    return f", not {shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '...'}"


def fields_at(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Names that exist in a model, or in the model of one of its fields."""
    for step in place:
        inner = model.model_fields[step].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)
