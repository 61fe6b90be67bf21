"""Recipe files as YAML: the line of each value, and what is wrong with the text.

Plain values only, as with `yaml.safe_load`: a recipe cannot construct objects. Differences:

1. A duplicate key is an error.
2. A plain key with dots means nesting: `split.num_splits: 9` is `split: {num_splits: 9}`. A quoted key is not split.
3. `1e-3` is a number, as in YAML 1.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import yaml

from qairt.recipe.syntax import (
    MAX_DEPTH,
    MAX_VALUES,
    RecipeSyntaxError,
    syntax_error,
    tab_error,
    tab_lines,
    too_deep,
    too_many,
)

KeyPath = tuple[str, ...]
Key = str | int | float
Scalar = str | int | float | bool | date | bytes | None
YamlValue: TypeAlias = "Scalar | list[YamlValue] | dict[Key, YamlValue]"

MAX_DIGITS = 400
"""Of a number; a float has 309 before the point."""

_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_NUMBER = (
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)

_BREAK = re.compile("[\r\x85\u2028\u2029]")


def load_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Parse a mapping; returns it and the line of each of its values by path (indices of a list as text).

    Args:
        name: the file, for messages.

    Raises:
        RecipeSyntaxError: names the file, the line and the remedy.
    """
    entry = _read(text, name)
    if entry is None:
        raise RecipeSyntaxError("the recipe is empty", where=name, remedy="`qairt init MODEL` writes one")
    if not isinstance(entry.value, _Mapping):
        raise RecipeSyntaxError(
            "a recipe is a mapping of settings", where=f"{name}:{entry.line}", remedy="write KEY: VALUE"
        )
    lines: dict[KeyPath, int] = {}
    return _plain_mapping(entry.value, (), lines), lines


def load_value(text: str) -> YamlValue:
    """Parse one value as a recipe writes it: a scalar, `[1, 128]`, `{where: {split: 5}}`.

    Raises:
        RecipeSyntaxError: it is not YAML, or more than one value.
    """
    entry = _read(text, "value", only_flow=True)
    return None if entry is None else _plain(entry, (), {})


@dataclass
class _Entry:
    line: int
    value: Scalar | list[_Entry] | _Mapping


class _Mapping(dict[Key, _Entry]):
    """Entries by key."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-3` as a number, and stops where a text has more values than a recipe has."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self._file = name
        self._count = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        self._count += not isinstance(parent, yaml.MappingNode) or index is not None
        if self._count > MAX_VALUES + 1:
            raise too_many(f"{self._file}:{line}")
        if self._depth > MAX_DEPTH:
            raise too_deep(f"{self._file}:{line}")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_Loader.add_implicit_resolver(*_NUMBER)


class PlainDumper(yaml.SafeDumper):
    """Writes YAML that `load_yaml` reads back unchanged: a key with dots is quoted, since a plain one means nesting."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:null":
                raise yaml.representer.RepresenterError("cannot represent the keys of", mapping)
            if key_node.tag == "tag:yaml.org,2002:str" and "." in key_node.value:
                key_node.style = '"'
        return node


def _text(dumper: PlainDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAK.search(text) else None  # PyYAML drops these in every other style
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


PlainDumper.add_implicit_resolver(*_NUMBER)
PlainDumper.add_representer(str, _text)
PlainDumper.add_multi_representer(str, lambda dumper, text: _text(dumper, str.__str__(text)))  # such as an enum's
PlainDumper.add_representer(set, PlainDumper.represent_undefined)


def _read(text: str, name: str, only_flow: bool = False) -> _Entry | None:
    try:
        loader = _Loader(text, name)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if only_flow and isinstance(node, yaml.CollectionNode) and not node.flow_style:
                raise RecipeSyntaxError("this is more than one value", where=name, remedy="quote it")
            return _Reader(loader, name, tab_lines(text)).entry(node, (), ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise syntax_error(error, name, tab_lines(text)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeSyntaxError(
            f"the text contains the invalid character U+{error.character:04X}",
            where=f"{name}:{line}",
            remedy="remove it",
        ) from error


class _Reader:
    """Turns YAML nodes into entries."""

    def __init__(self, loader: _Loader, name: str, tabs: frozenset[int]) -> None:
        self._loader = loader
        self._name = name
        self._tabs = tabs
        self._count = 0

    def entry(self, node: yaml.Node, path: KeyPath, ancestors: tuple[yaml.Node, ...]) -> _Entry:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise too_many(f"{self._name}:{line}")
        if len(path) > MAX_DEPTH:
            raise too_deep(f"{self._name}:{line}")
        if isinstance(node, yaml.ScalarNode):
            return _Entry(line, self._scalar(node))
        if node.tag not in _PLAIN:
            raise self._error(line, f"a recipe cannot contain {node.tag}", "remove the tag")
        if any(node is other for other in ancestors):
            raise self._error(line, "an alias refers to a value that contains it", "write the value out")
        inside = (*ancestors, node)
        if isinstance(node, yaml.SequenceNode):
            return _Entry(
                line, [self.entry(item, (*path, str(index)), inside) for index, item in enumerate(node.value)]
            )
        assert isinstance(node, yaml.MappingNode)
        return _Entry(line, self._mapping(node, path, inside))

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        if node.style is None:
            for line in range(node.start_mark.line + 1, node.end_mark.line + 1):
                if line in self._tabs:  # YAML would read the next entry as a continuation of this text
                    raise tab_error(self._name, line)
        if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:  # an int in base 60 would take minutes
            raise self._invalid(node, f"a number of more than {MAX_DIGITS} characters")
        try:
            value: Scalar = self._loader.construct_object(node)
            return value
        except (ValueError, OverflowError) as error:  # a date or number out of range
            raise self._invalid(node, str(error)) from error
        except (LookupError, AttributeError) as error:  # what PyYAML raises for `!!bool x` and `!!timestamp x`
            raise self._invalid(node, f"it is not a {node.tag.rpartition(':')[2]}") from error

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, ancestors: tuple[yaml.Node, ...]) -> _Mapping:
        own, inherited = _Mapping(), _Mapping()
        seen: dict[tuple[Key, ...], int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                inherited = _Mapping({**inherited, **self._inherited(value_node, path, ancestors, line)})
                continue
            steps = self._steps(key_node, line)
            here = (*path, *map(str, steps))
            if steps in seen:
                raise self._duplicate(here, seen[steps], line)
            seen[steps] = line
            self._put(own, steps, _Entry(line, self.entry(value_node, here, ancestors).value), here)
        return _Mapping({**inherited, **own})

    def _inherited(self, node: yaml.Node, path: KeyPath, ancestors: tuple[yaml.Node, ...], line: int) -> _Mapping:
        """The entries that `<<: *base` or `<<: [*first, *second]` merges in; the first base wins."""
        found = _Mapping()
        for base in reversed(node.value if isinstance(node, yaml.SequenceNode) else [node]):
            value = self.entry(base, path, ancestors).value
            if not isinstance(value, _Mapping):
                raise self._error(line, "<< merges mappings only", "write <<: *NAME with the name of a mapping")
            found.update(value)
        return found

    def _steps(self, node: yaml.Node, line: int) -> tuple[Key, ...]:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(line, "a key must be a single word", "write KEY: VALUE")
        key = self._scalar(node)
        if key is None:
            raise self._error(line, "a key is empty", "write KEY: VALUE")
        if isinstance(key, bool) or not isinstance(key, (str, int, float)):
            return (node.value,)  # `on: 1` is a key called on
        if isinstance(key, str) and not node.style and all(key.split(".")):
            return tuple(key.split("."))
        return (key,)

    def _put(self, into: _Mapping, steps: tuple[Key, ...], entry: _Entry, path: KeyPath) -> None:
        for count, step in enumerate(steps[:-1], 1):
            held = into.setdefault(step, _Entry(entry.line, _Mapping()))
            if held.value is None:
                held.value = _Mapping()
            if not isinstance(held.value, _Mapping):
                raise self._error(
                    entry.line,
                    f"{'.'.join(path)} sets something inside {'.'.join(path[: len(path) - len(steps) + count])},"
                    f" which is set on line {held.line}",
                    "remove one of them",
                )
            into = held.value
        last = steps[-1]
        if last not in into:
            into[last] = entry
            return
        held = into[last]
        if isinstance(held.value, _Mapping) and isinstance(entry.value, _Mapping):
            for key, inner in entry.value.items():
                self._put(held.value, (key,), inner, (*path, str(key)))
        elif held.value is None or entry.value is None:
            held.value = entry.value if held.value is None else held.value
        else:
            raise self._duplicate(path, held.line, entry.line)

    def _duplicate(self, path: KeyPath, first: int, line: int) -> RecipeSyntaxError:
        return self._error(line, f"{'.'.join(path)} is set twice, first on line {first}", "remove one of them")

    def _invalid(self, node: yaml.ScalarNode, why: str) -> RecipeSyntaxError:
        what = f"{node.value:.40} is not a valid value: {why}"
        return self._error(node.start_mark.line + 1, what, "quote it to make it text")

    def _error(self, line: int, what: str, remedy: str) -> RecipeSyntaxError:
        return RecipeSyntaxError(what, where=f"{self._name}:{line}", remedy=remedy)


def _plain(entry: _Entry, path: KeyPath, lines: dict[KeyPath, int]) -> YamlValue:
    """The value without its lines, which are added to `lines`."""
    if path:
        lines[path] = entry.line
    if isinstance(entry.value, _Mapping):
        return _plain_mapping(entry.value, path, lines)
    if isinstance(entry.value, list):
        return [_plain(inner, (*path, str(index)), lines) for index, inner in enumerate(entry.value)]
    return entry.value


def _plain_mapping(mapping: _Mapping, path: KeyPath, lines: dict[KeyPath, int]) -> dict[Any, Any]:
    return {key: _plain(inner, (*path, str(key)), lines) for key, inner in mapping.items()}
