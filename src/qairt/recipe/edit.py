"""Changing one value in a recipe's file: only its line changes, comments stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qairt.errors import RecipeError, unwritable
from qairt.files import write_atomic
from qairt.recipe.places import child, key_in
from qairt.recipe.source import KeyPath, PlainDumper, load_yaml
from qairt.recipe.syntax import exact_text


@dataclass(frozen=True)
class LineChange:
    """A change of one line of a file."""

    file: Path
    line: int
    before: str
    after: str
    _content: str
    _changed: str

    def apply(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            RecipeError: the file has changed since.
            CacheError: it cannot be written.
        """
        where = f"{self.file}:{self.line}"
        if exact_text(self.file) != self._content:
            raise RecipeError("the file has changed in the meantime", where=where, remedy="open it again")
        try:
            write_atomic(self.file, self._changed)
        except OSError as error:
            raise unwritable(error, "the recipe", where, instead="work on a copy of it elsewhere") from error


def set_value(file: Path, path: KeyPath, value: object) -> LineChange:
    """The change that sets the setting at `path`; nothing is written yet.

    Raises:
        RecipeError: the value is not a single word on one line; the remedy says what to do instead.
    """
    name = ".".join(path)
    content = exact_text(file)
    node = _node(yaml.compose(content, Loader=yaml.SafeLoader), path)
    if node is None:
        raise RecipeError(f"{name} is not set in this file", where=str(file), remedy=f"add {name}: {_word(value)}")
    where = f"{file}:{node.start_mark.line + 1}"
    start, end = node.start_mark.index, node.end_mark.index
    held = content[start:end]
    if isinstance(value, (list, dict)):
        raise RecipeError(f"{_word(value)} is not a single word", where=where, remedy="edit the recipe")
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line or not held:
        raise RecipeError(f"{name} is not a single word on one line", where=where, remedy="edit the recipe")
    if held[0] in "&!":
        raise RecipeError(f"{name} is shared with other settings", where=where, remedy="edit the recipe")
    changed = content[:start] + _word(value) + content[end:]
    _check(content, changed, path, value, where)
    first = content.rfind("\n", 0, start) + 1
    last = content.find("\n", end)
    after = changed[first : changed.find("\n", start)] if last >= 0 else changed[first:]
    before = content[first:last] if last >= 0 else content[first:]
    return LineChange(file, node.start_mark.line + 1, before.rstrip("\r"), after.rstrip("\r"), content, changed)


def _check(content: str, changed: str, path: KeyPath, value: object, where: str) -> None:
    """Check that the changed text differs in that value only."""
    expected, _ = load_yaml(content.removeprefix("\ufeff"), where)
    found, _ = load_yaml(changed.removeprefix("\ufeff"), where)
    container: Any = expected
    for step in path[:-1]:
        container = child(container, step, {})
    container[key_in(container, path[-1])] = value
    if found != expected:
        raise RecipeError(f"{'.'.join(path)} is shared with other settings", where=where, remedy="edit the recipe")


def _node(node: yaml.Node | None, steps: KeyPath) -> yaml.Node | None:
    """The node at `steps`; a plain key with dots means nesting. None where it is an alias or merged in by `<<`."""
    if not steps:
        return node
    if isinstance(node, yaml.SequenceNode):
        index = int(steps[0]) if steps[0].isdecimal() else len(node.value)
        return _node(node.value[index], steps[1:]) if index < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            parts = (key.value,) if getattr(key, "style", None) else tuple(str(key.value).split("."))
            if steps[: len(parts)] != parts:
                continue
            found = _node(value, steps[len(parts) :])
            if found is not None and found.start_mark.index >= key.end_mark.index:
                return found
    return None


def _word(value: object) -> str:
    """`value` as YAML on one line, valid inside brackets too."""
    text = str(yaml.dump([value], Dumper=PlainDumper, default_flow_style=True, width=10**9, allow_unicode=True))
    return text.strip()[1:-1]
