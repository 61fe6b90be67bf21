"""Taking one item from the shared store into the cache: whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry, NewEntry
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.plan.reads import stands_for
from qairt.engine.shared_store.fetch import Check
from qairt.engine.shared_store.shared_store import SharedStore

if TYPE_CHECKING:
    from qairt.engine.shared_store.stored import StoredEntry


def fetch(
    store: SharedStore,
    cache: StageCache,
    item: PlannedItem,
    stored: StoredEntry,
    *,
    progress: Callable[[float], None] = lambda fraction: None,
    check: Check = lambda: None,
) -> Entry | None:
    """The item's entry, now in the cache like one that was built; None if what the store has is of no use.

    Args:
        progress: gets the fraction that is here.
        check: what it raises ends the waiting.

    Raises:
        CacheError: it cannot be stored here.
    """
    with cache.making(item.stage.name, item.key) as work:
        building = item.expected.seconds
        if not store.fetch(stored, work, cache.blobs, building=building, progress=progress, check=check):
            return None
        cache.publish(work, _new_entry(item, stored), wait=check)
    if cache.get(item.key, type(item.stage)) is None:
        store.forget(stored.action)
        return None
    return cache.entry(item.key)


def _new_entry(item: PlannedItem, stored: StoredEntry) -> NewEntry:
    return NewEntry(
        key=stored.key,
        stage=stored.stage,
        label=stored.label,
        inputs=stored.inputs,
        seconds=stored.seconds,
        peak_rss=stored.peak_rss,
        made_from=stored.made_from,
        made_with=stored.made_with,
        read=stored.read,
        stands_for=stands_for(item),
        made_by=stored.made_by,
    )
