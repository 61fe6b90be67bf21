"""A user's small YAML files: their values, the line of each key, and validation errors as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from qairt.files import read_text
from qairt.printable import as_written
from qairt.recipe.names import nearest

_LONGEST = 60
"""Characters of an invalid value that a sentence shows."""


class NotAMapping(ValueError):  # noqa: N818 - reads as what happened
    """The file cannot be read, or is not a mapping. The text is a sentence with file and line."""


@dataclass
class YamlFile:
    """The content of one file, with line numbers."""

    path: Path
    text: str = ""
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Line of each key, two levels deep."""

    def where(self, path: Sequence[object]) -> str:
        """`file:line` of a setting, or of the closest one around it."""
        steps = tuple(str(step) for step in path)
        line = next((self.lines[steps[:end]] for end in range(len(steps), 0, -1) if steps[:end] in self.lines), None)
        return f"{self.path}:{line}" if line else str(self.path)


def read_yaml(path: Path) -> YamlFile:
    """Read a file of settings, which may be empty.

    Raises:
        NotAMapping: the file is invalid.
        FileNotFoundError: the file does not exist.
    """
    try:
        text = read_text(path).removeprefix("\ufeff")
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
        raise NotAMapping(f"{path}:{root.start_mark.line + 1}: should consist of KEY: VALUE lines")
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


def describe_error(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One entry of `ValidationError.errors()` as a sentence: `sate is not known; did you mean state?`."""
    path = [str(step) for step in error["loc"]]
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        known = fields_at(model, path[:-1])
        close = nearest(path[-1], known)
        return f"{name} is not known; " + (f"did you mean {close}?" if close else f"known are {', '.join(known)}")
    if error["type"] == "missing":
        return f"{name} is missing"
    cause = error.get("ctx", {}).get("error")
    problem = str(cause) if cause is not None else _lower_first(error["msg"])
    return f"{name}: {problem}{_value(error['input'])}"


def _lower_first(message: str) -> str:
    return message[0].lower() + message[1:]


def _value(value: object) -> str:
    if value is None:
        return ", not empty"
    if isinstance(value, (dict, list)):
        return ", not a mapping" if isinstance(value, dict) else ", not a list"
    shown = as_written(value)
    return f", not {shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '...'}"


def fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Field names of a model, or of the model of one of its fields."""
    for step in path:
        inner = model.model_fields[step].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)
