"""Replacing the old keys of a recipe's file by the new ones; comments and everything else stay."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import RecipeError, unwritable
from qairt.files import write_atomic
from qairt.recipe.old_keys import OldKey, apply_old_keys, old_keys
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath, load_yaml
from qairt.recipe.syntax import exact_text

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

_COMMENT = re.compile(r"(?:^|\s)#\s*(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """The text of a recipe's file before and after."""

    file: Path
    keys: tuple[OldKey, ...]
    before: str
    after: str

    def changed_lines(self) -> list[str]:
        """A unified diff without its header."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        return [line for line in lines if not line.startswith(("---", "+++"))]

    def apply(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            RecipeError: the file has changed since.
            CacheError: it cannot be written.
        """
        if exact_text(self.file) != self.before:
            raise RecipeError("the file has changed in the meantime", where=str(self.file), remedy="run it again")
        try:
            write_atomic(self.file, self.after)
        except OSError as error:
            raise unwritable(error, "the recipe", self.file, instead="work on a copy of it elsewhere") from error


def migration(file: Path) -> Migration:
    """The migration of `file`; nothing is written yet.

    Raises:
        RecipeError: the file is not a recipe, or cannot be rewritten without loss; the remedy says what to do by hand.
    """
    recipe = Recipe.from_file(file)
    keys = tuple(old_keys(recipe))
    before = exact_text(file)
    if not keys:
        return Migration(file, (), before, before)
    after = _rewritten(before, keys, file)
    apply_old_keys(recipe)
    _require_same(after, recipe, file, keys)
    return Migration(file, keys, before, after)


def _rewritten(text: str, keys: Sequence[OldKey], file: Path) -> str:
    from ruamel.yaml.error import YAMLError

    yaml = _yaml(text)
    try:
        document = yaml.load(text)
        for key in keys:
            _move(document, key)
        stream = StringIO()
        yaml.dump(document, stream)
    except (YAMLError, NotImplementedError, AttributeError) as error:
        raise _by_hand(file, keys, f"{type(error).__name__}") from error
    after = stream.getvalue()
    return _with_lost_comments(text, after)


def _with_lost_comments(before: str, after: str) -> str:
    """Put comments that were removed with their keys back where the first of these keys was."""
    lost = Counter(_COMMENT.findall(before)) - Counter(_COMMENT.findall(after))
    lines = after.splitlines(keepends=True)
    old = before.splitlines(keepends=True)
    pairs = enumerate(zip(old, lines, strict=False))
    first = next((index for index, (one, other) in pairs if one != other), len(lines))
    return "".join([*lines[:first], *(f"# {comment}\n" for comment in lost.elements()), *lines[first:]])


def _yaml(text: str) -> YAML:
    from ruamel.yaml import YAML
    from ruamel.yaml.util import load_yaml_guess_indent

    _, indent, sequence = load_yaml_guess_indent(text)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10**6
    yaml.indent(mapping=2 if indent is None else min(indent, 8), sequence=(sequence or 0) + 2, offset=sequence or 0)
    return yaml


def _move(document: CommentedMap, key: OldKey) -> None:
    parent, name = _find(document, key.old)
    comment = _end_of_line_comment(parent, name)
    value = parent[name]
    _remove(document, key.old)
    if key.kept_where or key.no_stage:
        return
    target = document
    for step in key.new[:-1]:
        if not isinstance(target.get(step), dict):
            target[step] = type(document)()
        target = target[step]
    target[key.new[-1]] = value
    if comment:
        target.yaml_add_eol_comment(comment, key.new[-1])


def _find(mapping: CommentedMap, path: KeyPath) -> tuple[CommentedMap, str]:
    """The mapping with the last key of `path`, and that key as it is written there, such as `a.b.c`."""
    for name in mapping:
        steps = (name,) if getattr(name, "style", None) else tuple(str(name).split("."))
        if path == steps or (path[: len(steps)] == steps and not isinstance(mapping[name], dict)):
            return mapping, name
        if path[: len(steps)] == steps:
            return _find(mapping[name], path[len(steps) :])
    raise AttributeError(".".join(path))


def _end_of_line_comment(mapping: CommentedMap, name: str) -> str:
    """The comment on the key's own line, without the lines below."""
    tokens = mapping.ca.items.get(name) or []
    token = tokens[2] if len(tokens) > 2 else None
    first = token.value.split("\n")[0].strip() if token is not None else ""
    return first.removeprefix("#").strip()


def _remove(document: CommentedMap, path: KeyPath) -> None:
    """Remove a key, and mappings that are empty without it; comments below it stay with the key before it."""
    mapping, name = _find(document, path)
    below = _comment_below(mapping, name)
    names = list(mapping)
    before = names[names.index(name) - 1] if names.index(name) else None
    del mapping[name]
    mapping.ca.items.pop(name, None)
    if below and before is not None:
        _append_comment(mapping, before, below)
        below = ""
    if not mapping and mapping is not document:
        parent, own = _parent(document, mapping)
        _remove_empty(document, parent, own, below)
    elif below and mapping:
        mapping.yaml_set_comment_before_after_key(next(iter(mapping)), before=_comment_text(below))


def _remove_empty(document: CommentedMap, parent: CommentedMap, own: str, below: str) -> None:
    names = list(parent)
    index = names.index(own)
    below = _comment_below(parent, own) + below
    del parent[own]
    parent.ca.items.pop(own, None)
    if not parent and parent is not document:
        grandparent, name = _parent(document, parent)
        _remove_empty(document, grandparent, name, below)
    elif below and index:
        _append_comment(parent, names[index - 1], below)
    elif below and parent:
        parent.yaml_set_comment_before_after_key(next(iter(parent)), before=_comment_text(below))


def _parent(mapping: CommentedMap, wanted: CommentedMap) -> tuple[CommentedMap, str]:
    """The mapping around `wanted`, and its key there."""
    for name, value in mapping.items():
        if value is wanted:
            return mapping, name
        if isinstance(value, type(mapping)):
            try:
                return _parent(value, wanted)
            except AttributeError:
                continue
    raise AttributeError("a mapping is not in the document")


def _comment_below(mapping: CommentedMap, name: str) -> str:
    """The comment lines between a key's own line and the next key."""
    tokens = mapping.ca.items.get(name) or []
    found = ""
    for token in tokens[1:]:
        for each in token if isinstance(token, list) else [token]:
            if each is not None:
                found += each.value.partition("\n")[2]
    return found if found.strip() else ""


def _append_comment(mapping: CommentedMap, name: str, lines: str) -> None:
    """Put comment lines below the value of `name`, after the last key inside it."""
    while isinstance(mapping[name], dict) and mapping[name] and not mapping[name].fa.flow_style():
        mapping = mapping[name]
        name = list(mapping)[-1]
    tokens = mapping.ca.items.get(name)
    if tokens is not None and tokens[2] is not None:
        tokens[2].value = f"{tokens[2].value.rstrip(chr(10))}\n{lines}"
        return
    from ruamel.yaml.error import CommentMark
    from ruamel.yaml.tokens import CommentToken

    mapping.ca.items[name] = [None, None, CommentToken(f"\n{lines}", CommentMark(0), None), None]


def _comment_text(lines: str) -> str:
    return "\n".join(line.strip().removeprefix("#").strip() for line in lines.strip().splitlines())


def _require_same(after: str, expected: Recipe, file: Path, keys: Sequence[OldKey]) -> None:
    """Check that the rewritten file means what the old one did."""
    found, _ = load_yaml(after.removeprefix("\ufeff"), str(file))
    if found != dict(expected):
        raise _by_hand(file, keys, "its formatting cannot be preserved")


def _by_hand(file: Path, keys: Sequence[OldKey], why: str) -> RecipeError:
    moves = "; ".join(f"{'.'.join(key.old)} to {'.'.join(key.new)}" for key in keys)
    return RecipeError(f"cannot rewrite the file: {why}", where=str(file), remedy=f"by hand, move {moves}")
