"""Which items of a plan the shared store has."""

from __future__ import annotations

from collections.abc import Iterable

from qairt.engine.plan.planned import PlannedItem
from qairt.engine.plan.reads import files_read
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.stored import action_of


def look_up(store: SharedStore, items: Iterable[PlannedItem], seen: set[str] | None = None) -> None:
    """Set `stored` of those items that are not here and that the store has.

    An item that is rebuilt in any case is not looked up, nor one whose sources are not known byte by byte.

    Args:
        seen: digests of contents that are fetched for other items; those of these items are added.
    """
    seen = set() if seen is None else seen
    actions = {}
    for item in items:
        anew = item.cause is not None and item.cause.kind in ("forced", "never")
        read = None if item.entry is not None or anew else files_read(item)
        if read is not None:
            actions[item.name] = (item, action_of(item.key, read))
    found = store.find(action for _, action in actions.values())
    for item, action in actions.values():
        stored = found.get(action)
        item.stored = stored if stored is not None and stored.stage == item.stage.name else None
        if item.stored is not None:
            contents = item.stored.contents()
            item.bytes = sum(size for digest, size in contents.items() if digest not in seen)
            item.fetch_seconds = store.expected_seconds(item.bytes)
            seen |= contents.keys()
