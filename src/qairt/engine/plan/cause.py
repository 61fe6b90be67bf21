"""Why an item is not in the cache: the first difference on the way from the recipe to it.

Each entry records the keys of its sources, so a difference is followed from entry to entry up to the item whose own
settings, files, tools or version differ. The differing leaves there are the root; later items only pass it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.cache.entry import Entry, mapping_in
from qairt.engine.plan.key import is_earlier
from qairt.engine.plan.planned import Cause, Kind, Leaf

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.engine.plan.planned import PlannedItem

Inputs = Mapping[str, "JsonValue"]
"""The recorded inputs of an entry."""
CHANGES: frozenset[Kind] = frozenset(
    {"setting", "parameter", "file", "toolchain", "facet", "library", "version", "input", "removed"}
)
"""Kinds that mean something changed since an item was made."""
NEW = "not built yet"
"""The reason of an item that was never made."""
DAMAGED = "its result was damaged or removed"
"""The reason of an item whose entry cannot be used, or is gone."""
EARLIER = "was made by an earlier version of qairt, which did not record which parts of the model it depends on"
"""Why an item runs whose entry does not say whether a facet that it depends on has changed."""
NEVER = "this stage, or one before it, is never reused"
"""The reason of an item of a stateful stage, and of what follows it."""


def cause_of(item: PlannedItem, known: Mapping[str, Entry], *, forced: bool, never: str) -> tuple[Cause, str]:
    """Why an item without an entry runs: the root cause, and one line about this item that ends in it.

    Args:
        known: every entry of the cache by key.
        forced: a rerun was requested.
        never: why it is never reused; empty if it may be.
    """
    if forced:
        cause = Cause("forced", item.name, note="requested with --force")
    elif never:
        cause = Cause("never", item.name, note=never)
    elif item.last is None:
        return _never_made(item)
    elif item.last.key == item.key:
        cause = Cause("removed", item.name, note=DAMAGED)
    else:
        return _changed(item, item.last, known)
    return cause, cause.text


def root_leaves(item: PlannedItem, known: Mapping[str, Entry]) -> set[str] | None:
    """Every leaf, as text, in which an item differs from its newest entry; None if a difference is not known."""
    if item.last is None or item.last.key == item.key:
        return None
    return _all_leaves(item, item.last, known, {})


def own_leaves(item: PlannedItem, then: Inputs) -> list[Leaf]:
    """The item's own values that differ from `then`, the inputs of an entry."""
    return _traced_to_settings(item, _own_leaves(item, then))


def _own_leaves(item: PlannedItem, then: Inputs) -> list[Leaf]:
    return [
        Leaf(_kind(kind, path), path, before, after)
        for kind, was, now, name in _parts(item, then)
        for path, before, after in keys.differing_leaves(was, now, name)
    ]


def _traced_to_settings(item: PlannedItem, leaves: list[Leaf]) -> list[Leaf]:
    """Parameters that hold a setting's value are named as that setting; their consequences are left out."""
    prefix = f"{item.stage.name}."
    found = {leaf.field.removeprefix(prefix): leaf for leaf in leaves if leaf.kind == "parameter"}
    settings = {
        name: Leaf("setting", setting, found[name].cached, found[name].now)
        for name, setting in item.stage.computed_from.items()
        if name in found
    }
    groups = {name.partition(".")[0] for name in settings}
    rest = [
        leaf
        for leaf in leaves
        if leaf.kind != "parameter" or leaf.field.removeprefix(prefix).partition(".")[0] not in groups
    ]
    return [*settings.values(), *rest]


def equal_leaves(item: PlannedItem, then: Inputs) -> list[Leaf]:
    """The item's own values that are equal in `then`; all of them if `then` is empty."""
    differing = [leaf.field for leaf in _own_leaves(item, then)] if then else []
    return [
        Leaf(_kind(kind, path), path, value, value)
        for kind, _, now, name in _parts(item, then)
        for path, value in _flat(now, name)
        if not any(path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.") for other in differing)
    ]


def changed_sources(item: PlannedItem, then: Inputs) -> list[tuple[PlannedItem, str | None]]:
    """The sources whose key differs from the one in `then`, with that key; those that run come first."""
    old = _source_keys(then)
    changed = [(source, old.get(source.place)) for source in item.chained if old.get(source.place) != source.key]
    return sorted(changed, key=lambda pair: pair[0].cached)


def _never_made(item: PlannedItem) -> tuple[Cause, str]:
    new = Cause("new", item.name, note=NEW)
    for source in item.chained:
        if source.cause is not None and source.cause.kind != "new":
            if source.cause.kind not in CHANGES:
                break
            return source.cause, f"{source.name} runs: {source.cause.text}"
    return new, new.text


def _changed(item: PlannedItem, last: Entry, known: Mapping[str, Entry]) -> tuple[Cause, str]:
    leaves = own_leaves(item, last.inputs)
    if leaves:
        cause = Cause(leaves[0].kind, item.name, tuple(leaves))
        return cause, cause.text
    changed = changed_sources(item, last.inputs)
    if not changed:
        return (cause := _other_input(item, last)), cause.text
    source, key = changed[0]
    cause = _root(source, key, known)
    return cause, f"{source.name} changed: {cause.text}" if cause.text else f"{source.name} changed"


def _root(item: PlannedItem, key: str | None, known: Mapping[str, Entry]) -> Cause:
    """Why an item no longer has the key `key`, under which a later item used it."""
    then = known.get(key) if key is not None else None
    if then is None:
        added = f"{item.name} was added" if key is None else f"{item.name} has a different key"
        return item.cause or Cause("input", item.name, note=added)
    leaves = own_leaves(item, then.inputs)
    if leaves:
        return Cause(leaves[0].kind, item.name, tuple(leaves))
    changed = changed_sources(item, then.inputs)
    return _root(*changed[0], known) if changed else _other_input(item, then)


def _other_input(item: PlannedItem, then: Entry) -> Cause:
    if is_earlier(then.inputs, item.inputs):
        return Cause("version", item.name, note=f"{item.name} {EARLIER}")
    names = {source.place for source in item.sources}
    removed = [name for name in _source_keys(then.inputs) if name not in names]
    note = f"{removed[0]} is no longer an input" if removed else "an input changed"
    return Cause("input", item.name, note=note)


def _all_leaves(
    item: PlannedItem, then: Entry, known: Mapping[str, Entry], seen: dict[tuple[str, str], set[str] | None]
) -> set[str] | None:
    pair = (item.name, then.key)
    if pair in seen:
        return seen[pair]
    found: set[str] | None = {leaf.text for leaf in own_leaves(item, then.inputs)}
    changed = changed_sources(item, then.inputs)
    if not found and not changed:
        found = None
    for source, key in changed:
        before = known.get(key) if key is not None else None
        inner = _all_leaves(source, before, known, seen) if before is not None else None
        found = found | inner if found is not None and inner is not None else None
    seen[pair] = found
    return found


def _parts(item: PlannedItem, then: Inputs) -> list[tuple[Kind, object, object, str]]:
    """The item's own inputs, then and now, in order."""
    stage = item.stage.name
    old, new = mapping_in(then, "extras"), mapping_in(item.inputs, "extras")
    facts = old.get("facts")
    added: list[tuple[Kind, object, object, str]] = [
        ("facet", old.get("facets"), new.get("facets"), ""),
        ("library", old.get("libraries"), new.get("libraries"), ""),
    ]
    if is_earlier(then, item.inputs):  # what it lacks is not a difference
        added = []
        kept = mapping_in(new, "facts")
        facts = {name: value for name, value in mapping_in(old, "facts").items() if name in kept} or new["facts"]
    return [
        ("setting", then.get("config"), item.inputs["config"], f"stages.{stage}"),
        ("file", facts or {}, new["facts"] or {}, stage),
        *added,
        ("parameter", old.get("params"), new["params"], stage),
        ("version", old.get("version"), new["version"], f"version of {stage}"),
    ]


def _kind(kind: Kind, path: str) -> Kind:
    return "toolchain" if kind == "file" and path.endswith(".toolchain") else kind


def _flat(value: object, path: str) -> list[tuple[str, object]]:
    parts = keys.parts_of(value)
    if parts is not None:
        return [leaf for name, inner in parts.items() for leaf in _flat(inner, f"{path}.{name}" if path else name)]
    return [] if value is None or value == [] else [(path, value)]


def _source_keys(inputs: Inputs) -> dict[str, str]:
    return {name: str(key) for name, key in mapping_in(inputs, "extras", "sources").items()}
