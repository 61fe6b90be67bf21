"""What a clear would do, before it is done."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from qairt.engine.axes import without
from qairt.engine.cache.cache import Entry
from qairt.engine.cache.store import Store
from qairt.engine.cache.trash import Cleared
from qairt.engine.record.events import read_events
from qairt.engine.record.folder import live_runs
from qairt.engine.record.state import BUSY, MADE, UNMADE, ItemState, RunState
from qairt.errors import CacheError

Scope = Literal["item", "row", "stage"]
"""One item; the items of its stage that differ only in their split; the whole stage."""


@dataclass(frozen=True)
class ClearPreview:
    """What clearing would do."""

    title: str
    """What is cleared, such as `convert ar1-split2`."""
    entries: tuple[Entry, ...]
    """That go; nothing is kept when there are none."""
    bytes: int
    """Given back at the next prune."""
    seconds_to_remake: float
    """Of work, one item after the other."""
    dependents: dict[str, int] = field(default_factory=dict)
    """Entries made from these, by stage; they go too when that is asked for, else they stay."""
    other_recipes: tuple[str, ...] = ()
    """Names of other recipes that used one of these entries when they ran last."""
    shared: int = 0
    """How many of the entries those used."""
    refused: str | None = None
    """Why it cannot be done now."""


def scope(store: Store, state: RunState, stage: str, label: str, what: Scope, *, after: bool = False) -> ClearPreview:
    """What clearing an item, its row or its stage would do.

    Of an item goes what this recipe reuses; where that is not made yet, what was made last at its place.

    Args:
        state: of the run or of the plan that the item is shown in.
        after: also everything made from it.
    """
    items = _in_scope(state, stage, label, what)
    kept = store.entries()
    title = {"item": f"{stage} {label}", "row": f"{stage} · {_row_name(items)}", "stage": stage}[what]
    if what != "item":
        title += f" · {len(items)} item{'s' if len(items) != 1 else ''}"
    later = _entries_of(_dependents(state, items), kept, stale=False)
    return preview(store, _entries_of(items, kept), title=title, state=state, after=after, later=later)


def preview(
    store: Store,
    entries: Sequence[Entry],
    *,
    title: str = "",
    state: RunState | None = None,
    after: bool = False,
    later: Sequence[Entry] = (),
    whole_stage: str | None = None,
) -> ClearPreview:
    """What clearing these entries would do.

    Args:
        state: a run that is watched; others that go in this cache directory are found.
        after: also everything made from them.
        later: known to be made from them; the rest is found by what the entries say.
        whole_stage: with `after`, also everything of the stages behind this one.
    """
    own = {entry.key for entry in entries}
    following = store.following([*entries, *later], whole_stage=whole_stage if after else None)
    made_from = Counter(entry.stage for entry in following if entry.key not in own)
    going = tuple(following if after else entries)
    recipes, shared = _other_recipes(store, going, state.recipe if state else "")
    return ClearPreview(
        title=title,
        entries=going,
        bytes=store.freed_by(going),
        seconds_to_remake=sum(entry.seconds for entry in going),
        dependents=dict(made_from),
        other_recipes=recipes,
        shared=shared,
        refused=refusal(store, going, state) if going else "nothing of it is kept",
    )


def refusal(store: Store, entries: Sequence[Entry], state: RunState | None = None) -> str | None:
    """Why these entries must stay for now: a run is making one of them, or still needs it. None when they may go."""
    keys = {entry.key for entry in entries}
    for run in _going(store, state):
        for item in run.items.values():
            if item.key in keys and item.status in BUSY:
                return f"{item.name} is running"
        for source, item in _needed(run):
            if source.key in keys:
                return f"{source.name} is still needed: {item.name} of run {run.run_id} is made from it"
    for entry in entries:
        if store.is_locked(entry.key):
            return f"{entry.stage} {entry.label} is being made by a run"
    return None


def clear(store: Store, entries: Sequence[Entry], state: RunState | None = None) -> Cleared:
    """Clear what a preview showed, unless a run began to need it meanwhile.

    Raises:
        CacheError: it is needed, or cannot be moved; then all of it stays.
    """
    refused = refusal(store, entries, state)
    if refused is not None:
        raise CacheError(
            f"nothing was cleared: {refused}",
            where=str(store.cache_dir),
            remedy="wait until that run has ended, or cancel it",
        )
    return store.clear(entries)


def _going(store: Store, state: RunState | None) -> list[RunState]:
    """The runs that go now, `state` among them when it does."""
    runs = [state] if state is not None and state.status == "running" else []
    for folder in live_runs(store.state_folder):
        if state is not None and folder.id == state.run_id:
            continue
        other = RunState()
        for event in read_events(folder.events):
            other.apply(event)
        if other.status == "running":
            runs.append(other)
    return runs


def _in_scope(state: RunState, stage: str, label: str, what: Scope) -> list[ItemState]:
    of_stage = [item for item in state.items.values() if item.stage == stage]
    if what == "stage":
        return of_stage
    one = [item for item in of_stage if item.label == label]
    if what == "item" or not one:
        return one
    place = without(one[0].coord, ("split",))
    return [item for item in of_stage if without(item.coord, ("split",)) == place]


def _row_name(items: Sequence[ItemState]) -> str:
    place = without(items[0].coord, ("split",)) if items else ()
    return " ".join(f"{axis.upper()} {value}" for axis, value in place) or "all"


def _entries_of(items: Iterable[ItemState], kept: Sequence[Entry], *, stale: bool = True) -> list[Entry]:
    by_key = {entry.key: entry for entry in kept}
    newest: dict[tuple[str, str], Entry] = {}
    for entry in kept:
        known = newest.get((entry.stage, entry.label))
        if known is None or known.timestamp < entry.timestamp:
            newest[entry.stage, entry.label] = entry
    found = [by_key.get(item.key) or (newest.get((item.stage, item.label)) if stale else None) for item in items]
    return _once([entry for entry in found if entry is not None])


def _once(entries: Iterable[Entry]) -> list[Entry]:
    return list({entry.key: entry for entry in entries}.values())


def _dependents(state: RunState, items: Sequence[ItemState]) -> list[ItemState]:
    """The items of the plan that are made from these, at any distance; sources stand before what is made of them."""
    reached = {item.name for item in items}
    found = []
    for item in state.items.values():
        if item.name not in reached and reached.intersection(item.sources):
            reached.add(item.name)
            found.append(item)
    return found


def _needed(state: RunState) -> Iterator[tuple[ItemState, ItemState]]:
    """Everything that what is not made yet may read, at any distance, and for what."""
    by_name = {item.name: item for item in state.items.values()}
    seen: set[str] = set()
    todo = deque((item, item) for item in by_name.values() if item.status not in MADE | UNMADE)
    while todo:
        item, wanted_by = todo.popleft()
        for name in item.sources:
            if name in by_name and name not in seen:
                seen.add(name)
                yield by_name[name], wanted_by
                todo.append((by_name[name], wanted_by))


def _other_recipes(store: Store, entries: Sequence[Entry], recipe: str) -> tuple[tuple[str, ...], int]:
    """Names of recipes other than `recipe` that used one of these, and how many of these."""
    users = store.recipes_by_key()
    own = os.path.abspath(recipe) if recipe else ""
    used = {entry.key: [user for user in users.get(entry.key, ()) if user != own] for entry in entries}
    paths = sorted({user for found in used.values() for user in found})
    return short_names(paths), sum(bool(found) for found in used.values())


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Recipes by the names of their files; by their paths where two names are the same."""
    names = Counter(PurePath(path).name for path in paths)
    return tuple(path if names[PurePath(path).name] > 1 else PurePath(path).name for path in paths)
