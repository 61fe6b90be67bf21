"""Cache keys: SHA-256 over a canonical JSON of everything an item depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from pydantic import JsonValue


@overload
def plain(value: Mapping[str, object]) -> dict[str, JsonValue]: ...
@overload
def plain(value: object) -> JsonValue: ...
def plain(value: object) -> JsonValue:
    """`value` as JSON: tuples of `(str, value)` pairs become mappings, other tuples lists, other types their text."""
    if value is None or isinstance(value, (str, bool, int, float)):  # first: most values are these
        return value
    if isinstance(value, (dict, Mapping)):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        if isinstance(value, tuple) and value and all(_is_pair(part) for part in value):
            return {name: plain(part) for name, part in value}
        return [plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        parts: list[Any] = [plain(part) for part in value]
        return sorted(parts)
    return str(value)


def canonical(value: object) -> str:
    """The canonical JSON text of `value`: sorted names, no spaces."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: object) -> str:
    """Hex SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def differing_leaves(old: object, new: object, path: str = "") -> list[tuple[str, object, object]]:
    """The leaves in which two plain values differ, as `(dotted path, old, new)`; see `parts_of`. Texts that hold JSON
    objects differ where these do."""
    if old == new:
        return []
    if (was := _object_in(old)) is not None and (now := _object_in(new)) is not None and was != now:
        return differing_leaves(was, now, path)
    was, now = parts_of(old), parts_of(new)
    lists = isinstance(old, list) or isinstance(new, list)
    if was is not None and now is not None and (not lists or [*was] == [*now]):
        found: list[tuple[str, object, object]] = []
        for name in [*now, *(name for name in was if name not in now)]:
            inner = f"{path}.{name}" if path else str(name)
            found += differing_leaves(was.get(name), now.get(name), inner)
        return found
    return [(path, old, new)]


def parts_of(value: object) -> Mapping[str, object] | None:
    """The named parts of a plain value: a mapping's, or those of a list of mappings that each have a `name`."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list) or not all(isinstance(part, Mapping) and "name" in part for part in value):
        return None
    found = {str(part["name"]): part for part in value}
    return found if len(found) == len(value) > 0 else None


def _object_in(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
