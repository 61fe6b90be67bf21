"""YAML with places: which line each key of a recipe stands on, and what is wrong with the text.

safe_load only: a recipe cannot construct objects.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from qairt.errors import RecipeError

KeyPath = tuple[str, ...]


class RecipeSyntaxError(RecipeError, yaml.YAMLError):
    """The text is not valid YAML, or repeats a key. For settings that do not exist, see `RecipeError`."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that keeps the line of each key, and refuses a key that stands twice."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.file = name
        self.lines: dict[KeyPath, int] = {}


def load_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """A mapping and the line of each of its keys, by path; literal dotted keys are nested.

    Raises:
        RecipeSyntaxError: names the file, the line and what to do.
    """
    for number, line in enumerate(text.splitlines(), 1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent:
            raise RecipeSyntaxError("a tab in the indentation", where=f"{name}:{number}", remedy="indent with spaces")
    loader = _Loader(text, name)
    try:
        node = loader.get_single_node()
        if node is None:
            raise RecipeSyntaxError("the recipe is empty", where=name, remedy="`qairt init` writes one to start from")
        if not isinstance(node, yaml.MappingNode):
            raise RecipeSyntaxError(
                "a recipe is a mapping of settings",
                where=f"{name}:{node.start_mark.line + 1}",
                remedy="write KEY: VALUE",
            )
        _check_keys(loader, node, ())
        content = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeSyntaxError(
            f"this is not valid YAML: {error.problem or error.context}", where=f"{name}{line}", remedy="fix that line"
        ) from error
    except yaml.YAMLError as error:
        raise RecipeSyntaxError(
            f"this is not valid YAML: {error}", where=name, remedy="save it as UTF-8 text"
        ) from error
    finally:
        loader.dispose()
    lines: dict[KeyPath, int] = {}
    return _nested(content, loader.lines, lines, name, (), ()), lines


def _check_keys(loader: _Loader, node: yaml.Node, path: KeyPath) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check_keys(loader, item, (*path, str(index)))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[Hashable, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise RecipeSyntaxError(
                "a key must be a plain word", where=f"{loader.file}:{line}", remedy="write KEY: VALUE"
            )
        key = str(key_node.value)
        if key in seen:
            raise RecipeSyntaxError(
                f"{key} stands twice, first on line {seen[key]}",
                where=f"{loader.file}:{line}",
                remedy="keep one of them",
            )
        seen[key] = line
        loader.lines[(*path, key)] = line
        _check_keys(loader, value_node, (*path, key))


def _nested(
    content: Any, raw: dict[KeyPath, int], lines: dict[KeyPath, int], name: str, at: KeyPath, raw_at: KeyPath
) -> Any:
    """`content` with `a.b: 1` as `a: {b: 1}`; the lines follow."""
    if isinstance(content, list):
        return [
            _nested(item, raw, lines, name, (*at, str(index)), (*raw_at, str(index)))
            for index, item in enumerate(content)
        ]
    if not isinstance(content, dict):
        return content
    result: dict[str, Any] = {}
    for key, value in content.items():
        line = raw.get((*raw_at, str(key)), 0)
        steps = str(key).split(".")
        inner = _nested(value, raw, lines, name, (*at, *steps), (*raw_at, str(key)))
        for count in range(1, len(steps) + 1):
            lines.setdefault((*at, *steps[:count]), line)
        _merge(result, steps, inner, name, line)
    return result


def _merge(into: dict[str, Any], steps: Sequence[str], value: Any, name: str, line: int) -> None:
    for step in steps[:-1]:
        into = into.setdefault(step, {})
        if not isinstance(into, dict):
            raise RecipeSyntaxError(
                f"{'.'.join(steps)} sets something inside {step}, which has a value of its own",
                where=f"{name}:{line}",
                remedy="keep one of them",
            )
    last = steps[-1]
    old = into.get(last)
    if isinstance(old, dict) and isinstance(value, dict):
        for key, inner in value.items():
            _merge(old, [key], inner, name, line)
    elif last in into:
        raise RecipeSyntaxError(f"{'.'.join(steps)} is set twice", where=f"{name}:{line}", remedy="keep one of them")
    else:
        into[last] = value


def read_text(path: Path) -> str:
    """A recipe's text.

    Raises:
        FileNotFoundError: there is no such file.
        RecipeSyntaxError: it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeSyntaxError("this is not UTF-8 text", where=str(path), remedy="save it as UTF-8") from error
