"""Why an item runs, in full: the inputs of its key beside those of its newest entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from qairt.amounts import count
from qairt.engine.plan.cause import changed_sources, equal_leaves, own_leaves, root_leaves
from qairt.engine.plan.origin import Origin, origin_of
from qairt.engine.plan.planned import Cause, Kind, Leaf, Plan, PlannedItem, short
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath


@dataclass(frozen=True)
class Difference:
    """One value that enters the key."""

    field: str
    cached: str
    """The earlier value; empty if there is nothing to compare with."""
    now: str
    origin: str
    """Where its present value comes from."""
    same: bool = False
    root: bool = False
    """Whether it is a root cause."""
    path: KeyPath = ()
    """Its path in the recipe, if it is written there alone and can be reverted."""
    before: object = None
    """The earlier value, to revert to."""


@dataclass(frozen=True)
class KeyDiff:
    """One item now, and its newest entry."""

    item: PlannedItem
    rows: tuple[Difference, ...]
    """What differs: root causes first, then what only passes them on."""
    same: tuple[Difference, ...]
    """What is equal."""
    cause: Cause | None
    """None if the item is reused."""
    downstream: tuple[str, ...]
    """Items that depend on it, as `stage label`."""
    cached_key: str
    """Of the newest entry; empty if it was never made."""
    cached_at: str
    """When that entry was made, ISO 8601."""
    cached_bytes: int

    @property
    def root(self) -> str:
        """The root cause in one line; empty if the item is reused."""
        if self.cause is None:
            return ""
        at = f" (at {self.cause.item})" if self.cause.item != self.item.name else ""
        return f"{self.cause.text}{at}"


@dataclass(frozen=True)
class RootCause:
    """One root cause, and what it explains."""

    cause: Cause
    origin: Origin
    stale: int
    """Items that were made before and are rebuilt because of it."""
    new: int
    """Items that were never made."""
    reverted: int
    """Items that would be reused after reverting it; 0 if that is not known."""
    seconds: float
    """To rebuild those."""


@dataclass(frozen=True)
class Summary:
    """Why a plan runs what it runs."""

    root_causes: tuple[RootCause, ...]
    items: int
    """Without those on demand, as `on_demand` counts."""
    cached: int
    stale: int
    new: int
    on_demand: int

    def lines(self) -> list[str]:
        """A line for each cause, and one for what reverting it would save."""
        found: list[str] = []
        for root in self.root_causes:
            explained = f"{root.stale} of {count(self.stale, 'stale item')}" if root.stale else ""
            if root.new:
                explained = " and ".join(filter(None, (explained, count(root.new, "new item"))))
            name = _named(root)
            found.append(f"{name} explains {explained}" if name else f"{explained}: {root.cause.note}")
            if root.reverted:
                leaf = root.cause.leaves[0]
                found.append(
                    f"  with {leaf.field} back at {short(leaf.cached)},"
                    f" {self.cached + root.reverted} of {count(self.items, 'item')} would be reused"
                )
        return found


def key_diff(plan: Plan, item: PlannedItem, recipe: Recipe) -> KeyDiff:
    """The inputs of the item's key beside those of its newest entry."""
    last = item.last
    then = last.inputs if last is not None else {}
    by_name = {other.name: other for other in plan.items}
    rows: list[Difference] = []
    if item.cause is not None and item.cause.item != item.name:
        begins = by_name[item.cause.item]
        rows += [_row(leaf, begins, recipe, root=True) for leaf in item.cause.leaves]
    if last is not None:
        rows += [_row(leaf, item, recipe, root=True) for leaf in own_leaves(item, then)]
    changed = {source.name: key for source, key in changed_sources(item, then)} if last is not None else {}
    for name, key in changed.items():
        how = "passed on" if key is not None else "new input"
        rows.append(Difference(f"input {name}", short(key or ""), short(by_name[name].key), how))
    same = [replace(_row(leaf, item, recipe), same=True) for leaf in equal_leaves(item, then)]
    for source in item.chained:
        if source.name not in changed:
            same.append(Difference(f"input {source.name}", short(source.key), short(source.key), "", same=True))
    return KeyDiff(
        item=item,
        rows=tuple(rows),
        same=tuple(same if last is not None else (replace(row, cached="") for row in same)),
        cause=item.cause,
        downstream=tuple(_downstream(plan, item)),
        cached_key=last.key if last is not None else "",
        cached_at=last.timestamp if last is not None else "",
        cached_bytes=last.bytes if last is not None else 0,
    )


def summary(plan: Plan, recipe: Recipe) -> Summary:
    """The root causes of everything that runs, the one that explains the most stale items first."""
    groups: dict[tuple[str, ...], list[PlannedItem]] = {}
    by_name = {item.name: item for item in plan.items}
    for item in plan.to_run():
        assert item.cause is not None
        leaves = tuple(leaf.text for leaf in item.cause.leaves)
        groups.setdefault((item.cause.kind, *(leaves or (_group_name(item.cause),))), []).append(item)
    root_causes = [_root_cause(items, plan, by_name, recipe) for items in groups.values()]
    everything = [item for item in plan.items if not item.on_demand]
    return Summary(
        root_causes=tuple(sorted(root_causes, key=lambda root: (-root.stale, -root.new))),
        items=len(everything),
        cached=sum(item.cached for item in everything),
        stale=sum(item.stale for item in everything),
        new=sum(item.runs and not item.stale for item in everything),
        on_demand=sum(item.on_demand for item in plan.items),
    )


def _root_cause(items: list[PlannedItem], plan: Plan, by_name: dict[str, PlannedItem], recipe: Recipe) -> RootCause:
    cause = items[0].cause
    assert cause is not None
    mine = {leaf.text for leaf in cause.leaves}
    origin = origin_of(cause.leaves[0], by_name[cause.item], recipe) if cause.leaves else Origin("")
    reusable = [item for item in items if len(mine) == 1 and _is_reused_without(item, plan, mine)]
    return RootCause(
        cause=cause,
        origin=origin,
        stale=sum(item.stale for item in items),
        new=sum(not item.stale for item in items),
        reverted=len(reusable),
        seconds=sum(item.seconds for item in reusable),
    )


def _is_reused_without(item: PlannedItem, plan: Plan, leaves: set[str]) -> bool:
    """Whether reverting `leaves` gives the key of its newest entry, and that entry is intact."""
    found = root_leaves(item, plan.known)
    return found is not None and found <= leaves and item.last is not None and item.last.missing() is None


def _group_name(cause: Cause) -> str:
    """What causes without a value are grouped by: an input by its note, the others by their kind alone."""
    return cause.note if cause.kind == "input" else ""


_NOUNS: dict[Kind, str] = {
    "setting": "recipe change",
    "parameter": "recipe change",
    "file": "changed file",
    "toolchain": "toolchain change",
    "facet": "model change",
    "library": "library change",
    "version": "qairt change",
}


def _named(root: RootCause) -> str:
    """What changed; empty if no value did."""
    cause = root.cause
    if not cause.leaves:
        return ""
    noun = "command line change" if root.origin.where == "command line" else _NOUNS[cause.kind]
    fields = ", ".join(leaf.field for leaf in cause.leaves[:3])
    more = f" and {len(cause.leaves) - 3} more" if len(cause.leaves) > 3 else ""
    return f"{count(len(cause.leaves), noun)} ({fields}{more})"


def _row(leaf: Leaf, item: PlannedItem, recipe: Recipe, *, root: bool = False) -> Difference:
    origin = origin_of(leaf, item, recipe)
    return Difference(
        field=leaf.field,
        cached=short(leaf.cached),
        now=short(leaf.now),
        origin=origin.where,
        root=root,
        path=origin.path,
        before=leaf.cached,
    )


def _downstream(plan: Plan, item: PlannedItem) -> Iterable[str]:
    below = {item.name}
    for other in plan.items:
        if other.name not in below and any(source.name in below for source in other.sources):
            below.add(other.name)
            yield other.name
