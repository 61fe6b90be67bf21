"""Rewriting a recipe's file: old keys go to their new places, comments stay, all else stays as it is."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import RecipeError
from qairt.files import write_atomic
from qairt.recipe.old_keys import OldKey, apply_old_keys, old_keys
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath, load_yaml, read_text

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

_COMMENT = re.compile(r"(?:^|\s)#\s*(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """A recipe's file as it is and as it would be."""

    file: Path
    keys: tuple[OldKey, ...]
    before: str
    after: str

    def changed_lines(self) -> list[str]:
        """A unified diff without its head."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        return [line for line in lines if not line.startswith(("---", "+++"))]

    def apply(self) -> None:
        """Write it, whole or not at all.

        Raises:
            RecipeError: the file is no longer what this was made for, or cannot be written.
        """
        if _text_of(self.file) != self.before:
            raise RecipeError("the file has changed in the meantime", where=str(self.file), remedy="run it again")
        try:
            write_atomic(self.file, self.after)
        except OSError as error:
            raise RecipeError(
                f"it cannot be written: {error.strerror or error}", where=str(self.file), remedy="make it writable"
            ) from error


def migration(file: Path) -> Migration:
    """What rewriting the old keys of `file` would change; nothing is written.

    Raises:
        RecipeError: the file is no recipe, or cannot be rewritten without losing something; says what to do by hand.
    """
    recipe = Recipe.from_file(file)
    keys = tuple(old_keys(recipe))
    before = _text_of(file)
    if not keys:
        return Migration(file, (), before, before)
    after = _rewritten(before, keys, file)
    apply_old_keys(recipe)
    _require_same(after, recipe, file, keys)
    return Migration(file, keys, before, after)


def _text_of(file: Path) -> str:
    read_text(file)  # says what is wrong with it
    return file.read_bytes().decode()


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
    """Comments that went with their keys are put back where the first of these stood."""
    lost = Counter(_COMMENT.findall(before)) - Counter(_COMMENT.findall(after))
    lines = after.splitlines(keepends=True)
    old = before.splitlines(keepends=True)
    same = next((at for at, pair in enumerate(zip(old, lines, strict=False)) if pair[0] != pair[1]), len(lines))
    return "".join([*lines[:same], *(f"# {comment}\n" for comment in lost.elements()), *lines[same:]])


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
    place, name = _find(document, key.old)
    comment = _end_of_line_comment(place, name)
    value = place[name]
    _take(document, key.old)
    if key.kept_where or key.no_stage:
        return
    target: Any = document
    for step in key.new[:-1]:
        if not isinstance(target.get(step), dict):
            target[step] = type(document)()
        target = target[step]
    target[key.new[-1]] = value
    if comment:
        target.yaml_add_eol_comment(comment, key.new[-1])


def _find(place: Any, path: KeyPath) -> tuple[Any, Any]:
    """The mapping that holds the last key of `path`, and that key as it is written there, `a.b.c` perhaps."""
    for name in place:
        steps = (name,) if getattr(name, "style", None) else tuple(str(name).split("."))
        if path == steps or (path[: len(steps)] == steps and not isinstance(place[name], dict)):
            return place, name
        if path[: len(steps)] == steps:
            return _find(place[name], path[len(steps) :])
    raise AttributeError(".".join(path))


def _end_of_line_comment(place: CommentedMap, name: Any) -> str:
    """The comment on the key's own line, without what follows on later lines."""
    tokens = place.ca.items.get(name) or []
    token = tokens[2] if len(tokens) > 2 else None
    first = token.value.split("\n")[0].strip() if token is not None else ""
    return first.removeprefix("#").strip()


def _take(document: Any, path: KeyPath) -> None:
    """Remove a key, and mappings that are empty without it; comments below it stay with what stands before it."""
    place, name = _find(document, path)
    below = _comment_below(place, name)
    names = list(place)
    before = names[names.index(name) - 1] if names.index(name) else None
    del place[name]
    place.ca.items.pop(name, None)
    if below and before is not None:
        _append(place, before, below)
        below = ""
    if not place and place is not document:
        parent, own = _holder(document, place)
        _take_empty(document, parent, own, below)
    elif below and place:
        place.yaml_set_comment_before_after_key(next(iter(place)), before=_bare(below))


def _take_empty(document: Any, parent: Any, own: Any, below: str) -> None:
    names = list(parent)
    at = names.index(own)
    below = _comment_below(parent, own) + below
    del parent[own]
    parent.ca.items.pop(own, None)
    if not parent and parent is not document:
        grandparent, name = _holder(document, parent)
        _take_empty(document, grandparent, name, below)
    elif below and at:
        _append(parent, names[at - 1], below)
    elif below and parent:
        parent.yaml_set_comment_before_after_key(next(iter(parent)), before=_bare(below))


def _holder(place: Any, wanted: Any) -> tuple[Any, Any]:
    for name, value in place.items():
        if value is wanted:
            return place, name
        if isinstance(value, dict):
            try:
                return _holder(value, wanted)
            except AttributeError:
                continue
    raise AttributeError("a mapping that was there")


def _comment_below(place: Any, name: Any) -> str:
    """Lines after the key's own, up to the next key."""
    tokens = place.ca.items.get(name) or []
    found = ""
    for token in tokens[1:]:
        for each in token if isinstance(token, list) else [token]:
            if each is not None:
                found += each.value.partition("\n")[2]
    return found if found.strip() else ""


def _append(place: Any, name: Any, lines: str) -> None:
    """Put lines of comment behind the value of `name`, the last one inside it."""
    while isinstance(place[name], dict) and place[name] and not place[name].fa.flow_style():
        place = place[name]
        name = list(place)[-1]
    tokens = place.ca.items.get(name)
    if tokens is not None and tokens[2] is not None:
        tokens[2].value = f"{tokens[2].value.rstrip(chr(10))}\n{lines}"
        return
    from ruamel.yaml.error import CommentMark
    from ruamel.yaml.tokens import CommentToken

    place.ca.items[name] = [None, None, CommentToken(f"\n{lines}", CommentMark(0), None), None]


def _bare(lines: str) -> str:
    return "\n".join(line.strip().removeprefix("#").strip() for line in lines.strip().splitlines())


def _require_same(after: str, expected: Recipe, file: Path, keys: Sequence[OldKey]) -> None:
    """Read again, it says what the old recipe was taken to say."""
    found, _ = load_yaml(after.removeprefix("\ufeff"), str(file))
    if found != dict(expected):
        raise _by_hand(file, keys, "the file is written in a way that cannot be kept")


def _by_hand(file: Path, keys: Sequence[OldKey], why: str) -> RecipeError:
    moves = "; ".join(f"{'.'.join(key.old)} to {'.'.join(key.new)}" for key in keys)
    return RecipeError(f"it cannot be rewritten: {why}", where=str(file), remedy=f"by hand, move {moves}")
