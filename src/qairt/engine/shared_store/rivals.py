"""Results of which a shared store knows two: machines that made different bytes from the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qairt.engine.shared_store.objects import Missing, Objects
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.stored import RIVALS, StoredEntry, entry_name, parsed


@dataclass(frozen=True)
class Differing:
    """One action with more than one result."""

    used: StoredEntry
    """The first one; the store has its bytes."""
    others: Sequence[StoredEntry]


def differing(store: SharedStore) -> list[Differing]:
    """All of them; those whose record in use is gone are left out.

    Raises:
        Unavailable: the store cannot be asked.
    """
    return store.ask(_differing, store.limits.listing)


def _differing(objects: Objects) -> list[Differing]:
    by_action: dict[str, list[str]] = {}
    for name in objects.names(RIVALS):
        by_action.setdefault(name.split("/")[-2], []).append(name)
    found = []
    for action, names in by_action.items():
        used = _read(objects, entry_name(action), action)
        others = [record for name in names if (record := _read(objects, name, action)) is not None]
        others = [record for record in others if used is not None and record.files != used.files]
        if used is not None and others:
            found.append(Differing(used, others))
    return found


def _read(objects: Objects, name: str, action: str) -> StoredEntry | None:
    try:
        return parsed(objects.read(name), action)
    except Missing:
        return None
