"""What clearing would do: previewed, refused while a run needs it, then done."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from qairt.amounts import count
from qairt.engine.axes import without
from qairt.engine.cache.entry import Entry, newest_by_item
from qairt.engine.cache.store import Store
from qairt.engine.cache.trash import Cleared
from qairt.engine.record.events import read_events
from qairt.engine.record.folder import live_runs
from qairt.engine.record.item_state import BUSY, MADE, UNMADE, ItemState
from qairt.engine.record.state import RunState
from qairt.errors import CacheError

Scope = Literal["item", "row", "stage"]
"""One item; the items of its stage that differ only in one axis; the whole stage."""


@dataclass(frozen=True)
class ClearPreview:
    """What clearing would do."""

    title: str
    """What is cleared, such as `convert ar1-split2`."""
    entries: tuple[Entry, ...]
    """Entries that would be cleared."""
    bytes: int
    """Freed at the next prune."""
    seconds_to_rebuild: float
    """One item after the other."""
    dependents: dict[str, int] = field(default_factory=dict)
    """By stage, how many entries were made from these; cleared only on request."""
    other_recipes: tuple[str, ...] = ()
    """Names of other recipes whose latest run used one of these entries."""
    shared: int = 0
    """How many of the entries those used."""
    refused: str | None = None
    """Why it is not possible now."""


def preview_items(
    store: Store, state: RunState, item: tuple[str, str], scope: Scope, *, row_axis: str = "", after: bool = False
) -> ClearPreview:
    """What clearing an item, its row or its stage would do.

    For each item the entry that this recipe reuses is cleared; if there is none, the item's newest entry.

    Args:
        state: the run or plan that shows the item.
        item: its stage and label.
        row_axis: the axis in which the items of a row differ.
        after: also everything made from it.
    """
    stage, label = item
    items = _in_scope(state, stage, label, scope, row_axis)
    entries = store.entries()
    title = {"item": f"{stage} {label}", "row": f"{stage} · {_row_name(items, row_axis)}", "stage": stage}[scope]
    if scope != "item":
        title += f" · {count(len(items), 'item')}"
    later = _entries_of(_dependents(state, items), entries, stale=False)
    return preview(store, _entries_of(items, entries), title=title, state=state, after=after, later=later)


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
        state: the run on the screen; other active runs of this cache directory are found.
        after: also everything made from them.
        later: entries known to be made from them; the others are found by their recorded sources.
        whole_stage: with `after`, also everything of the stages after this one.
    """
    own = {entry.key for entry in entries}
    following = store.with_dependents([*entries, *later], whole_stage=whole_stage if after else None)
    dependents = Counter(entry.stage for entry in following if entry.key not in own)
    cleared = tuple(following if after else entries)
    recipes, shared = _other_recipes(store, cleared, state.recipe if state else "")
    return ClearPreview(
        title=title,
        entries=cleared,
        bytes=store.freed_by(cleared),
        seconds_to_rebuild=sum(entry.seconds for entry in cleared),
        dependents=dict(dependents),
        other_recipes=recipes,
        shared=shared,
        refused=refusal(store, cleared, state) if cleared else "it has no entries in the cache",
    )


def refusal(store: Store, entries: Sequence[Entry], state: RunState | None = None) -> str | None:
    """Why these entries cannot be cleared now: a run is making one of them, or still needs it. None if they can."""
    keys = {entry.key for entry in entries}
    for run in _active_runs(store, state):
        if not run.items:
            return f"run {run.run_id} is starting and may need it"
        for item in run.items.values():
            if item.key in keys and item.status in BUSY:
                return f"{item.name} is running"
        for source, item in _needed(run):
            if source.key in keys:
                return f"{source.name} is still needed by {item.name} of run {run.run_id}"
    for entry in entries:
        if store.is_locked(entry.key):
            return f"{entry.stage} {entry.label} is being built by a run"
    return None


def clear(store: Store, entries: Sequence[Entry], state: RunState | None = None) -> Cleared:
    """Clear what a preview showed, unless a run has started to need it.

    Raises:
        CacheError: it is needed, or cannot be moved; nothing was cleared.
    """
    refused = refusal(store, entries, state)
    if refused is not None:
        raise CacheError(
            f"nothing was cleared: {refused}",
            where=str(store.cache_dir),
            remedy="wait for that run to end, or cancel it",
        )
    return store.clear(entries)


def _active_runs(store: Store, state: RunState | None) -> list[RunState]:
    """The runs in progress, `state` among them if it is; one that is still planning has no items."""
    runs = [state] if state is not None and state.status == "running" else []
    for folder in live_runs(store.state_folder):
        if state is not None and folder.id == state.run_id:
            continue
        other = RunState(run_id=folder.id)
        for event in read_events(folder.events):
            other.apply(event)
        if other.status in ("planned", "running"):
            runs.append(other)
    return runs


def _in_scope(state: RunState, stage: str, label: str, scope: Scope, row_axis: str) -> list[ItemState]:
    of_stage = [item for item in state.items.values() if item.stage == stage]
    if scope == "stage":
        return of_stage
    one = [item for item in of_stage if item.label == label]
    if scope == "item" or not one:
        return one
    row = without(one[0].coord, (row_axis,))
    return [item for item in of_stage if without(item.coord, (row_axis,)) == row]


def _row_name(items: Sequence[ItemState], row_axis: str) -> str:
    row = without(items[0].coord, (row_axis,)) if items else ()
    return " ".join(f"{axis.upper()} {value}" for axis, value in row) or "all"


def _entries_of(items: Iterable[ItemState], entries: Sequence[Entry], *, stale: bool = True) -> list[Entry]:
    """The entries of items, each once; of an item without one its newest entry if `stale`."""
    by_key = {entry.key: entry for entry in entries}
    newest = newest_by_item(entries) if stale else {}
    found = [by_key.get(item.key) or newest.get((item.stage, item.label)) for item in items]
    return list({entry.key: entry for entry in found if entry is not None}.values())


def _dependents(state: RunState, items: Sequence[ItemState]) -> list[ItemState]:
    """The items of the plan that depend on these, directly or not; sources come before their dependents."""
    reached = {item.name for item in items}
    found = []
    for item in state.items.values():
        if item.name not in reached and reached.intersection(item.sources):
            reached.add(item.name)
            found.append(item)
    return found


def _needed(state: RunState) -> Iterator[tuple[ItemState, ItemState]]:
    """Each item that an unfinished one depends on, directly or not, with that unfinished item."""
    by_name = {item.name: item for item in state.items.values()}
    seen: set[str] = set()
    todo = deque((item, item) for item in by_name.values() if item.status not in MADE | UNMADE)
    while todo:
        item, dependent = todo.popleft()
        for name in item.sources:
            if name in by_name and name not in seen:
                seen.add(name)
                yield by_name[name], dependent
                todo.append((by_name[name], dependent))


def _other_recipes(store: Store, entries: Sequence[Entry], recipe: str) -> tuple[tuple[str, ...], int]:
    """Names of recipes other than `recipe` that used one of these entries, and how many entries they used."""
    users = store.recipes_by_key()
    own = os.path.abspath(recipe) if recipe else ""
    used = {entry.key: [user for user in users.get(entry.key, ()) if user != own] for entry in entries}
    paths = sorted({user for found in used.values() for user in found})
    return short_names(paths), sum(bool(found) for found in used.values())


def short_names(paths: Sequence[str]) -> tuple[str, ...]:
    """Recipes by file name, or by path where two names are equal."""
    names = Counter(PurePath(path).name for path in paths)
    return tuple(path if names[PurePath(path).name] > 1 else PurePath(path).name for path in paths)
