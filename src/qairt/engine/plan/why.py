"""Why an item runs, in full: what went into its key beside what went into it when it was made last."""

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
    """One value that goes into the key."""

    field: str
    cached: str
    """As it was; empty when there is nothing to compare with."""
    now: str
    origin: str
    """Where the value it has now comes from."""
    same: bool = False
    root: bool = False
    """Whether it is where the reason begins."""
    path: KeyPath = ()
    """Its path in the recipe, when it stands there alone and could be set back."""
    before: object = None
    """The value it had, to set it back."""


@dataclass(frozen=True)
class KeyDiff:
    """One item now, and when it was made last."""

    item: PlannedItem
    rows: tuple[Difference, ...]
    """What differs: first where the reason begins, then what only passes it on."""
    same: tuple[Difference, ...]
    """What is equal."""
    cause: Cause | None
    """None for an item that is reused."""
    downstream: tuple[str, ...]
    """Items that are made from it, as `stage label`."""
    cached_key: str
    """Of the item as it was made last; empty when it never was."""
    cached_at: str
    """When, ISO 8601."""
    cached_bytes: int

    @property
    def root(self) -> str:
        """Where the reason begins, in a sentence; empty for an item that is reused."""
        if self.cause is None:
            return ""
        at = f" (at {self.cause.item})" if self.cause.item != self.item.name else ""
        return f"{self.cause.text}{at}"


@dataclass(frozen=True)
class Share:
    """One root cause, and what it explains."""

    cause: Cause
    origin: Origin
    stale: int
    """Items that were made before and run again because of it."""
    new: int
    """Items that were never made."""
    reverted: int
    """Items that would be reused if it had not happened; 0 where that cannot be said."""
    seconds: float
    """What making those takes."""


@dataclass(frozen=True)
class Summary:
    """Why a plan runs what it runs."""

    shares: tuple[Share, ...]
    items: int
    cached: int
    stale: int
    new: int

    def lines(self) -> list[str]:
        """A sentence for each cause, and what setting it back would save."""
        found: list[str] = []
        for share in self.shares:
            explained = f"{share.stale} of {count(self.stale, 'stale item')}" if share.stale else ""
            if share.new:
                explained = " and ".join(filter(None, (explained, count(share.new, "new item"))))
            name = _named(share)
            found.append(f"{name} explains {explained}" if name else f"{explained}: {share.cause.note}")
            if share.reverted:
                leaf = share.cause.leaves[0]
                found.append(
                    f"  reused if {leaf.field} were {short(leaf.cached)} again:"
                    f" {self.cached + share.reverted} of {count(self.items, 'item')}"
                )
        return found


def key_diff(plan: Plan, item: PlannedItem, recipe: Recipe) -> KeyDiff:
    """Everything that went into the item's key, beside the last time it was made."""
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
        how = "passed on" if key is not None else "was not part of it"
        rows.append(Difference(f"input {name}", short(key or ""), short(by_name[name].key), how))
    same = [replace(_row(leaf, item, recipe), same=True) for leaf in equal_leaves(item, then)]
    for source in item.sources:
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
    """The root causes of everything that runs, the one that explains most stale items first."""
    groups: dict[tuple[str, ...], list[PlannedItem]] = {}
    by_name = {item.name: item for item in plan.items}
    for item in plan.to_run():
        assert item.cause is not None
        leaves = tuple(leaf.text for leaf in item.cause.leaves)
        groups.setdefault((item.cause.kind, *(leaves or (_begins(item.cause),))), []).append(item)
    shares = [_share(items, plan, by_name, recipe) for items in groups.values()]
    everything = list(plan.items)
    return Summary(
        shares=tuple(sorted(shares, key=lambda share: (-share.stale, -share.new))),
        items=len(everything),
        cached=sum(item.cached for item in everything),
        stale=sum(item.stale for item in everything),
        new=sum(not item.cached and not item.stale for item in everything),
    )


def _share(items: list[PlannedItem], plan: Plan, by_name: dict[str, PlannedItem], recipe: Recipe) -> Share:
    cause = items[0].cause
    assert cause is not None
    mine = {leaf.text for leaf in cause.leaves}
    origin = origin_of(cause.leaves[0], by_name[cause.item], recipe) if cause.leaves else Origin("")
    back = [item for item in items if len(mine) == 1 and _comes_back(item, plan, mine)]
    return Share(
        cause=cause,
        origin=origin,
        stale=sum(item.stale for item in items),
        new=sum(not item.stale for item in items),
        reverted=len(back),
        seconds=sum(item.seconds for item in back),
    )


def _comes_back(item: PlannedItem, plan: Plan, leaves: set[str]) -> bool:
    """Whether setting `leaves` back would give the key it was made with last, and that result is still whole."""
    found = root_leaves(item, plan.known)
    return found is not None and found <= leaves and item.last is not None and item.last.missing() is None


def _begins(cause: Cause) -> str:
    """What causes without a value are told apart by: an input by its words, the others by their kind."""
    return cause.note if cause.kind == "input" else ""


_NOUNS: dict[Kind, str] = {
    "setting": "recipe change",
    "parameter": "recipe change",
    "file": "changed file",
    "toolchain": "change of the toolchain",
    "version": "change of qairt",
}


def _named(share: Share) -> str:
    """What changed; empty where no value did."""
    cause = share.cause
    if not cause.leaves:
        return ""
    noun = "change on the command line" if share.origin.where == "command line" else _NOUNS[cause.kind]
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
