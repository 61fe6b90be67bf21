"""One sentence each for what clearing, undo and prune did, for the screen and the shell."""

from __future__ import annotations

from qairt.amounts import count, size
from qairt.engine.cache.store import Store


def cleared_line(freed: int, number: int) -> str:
    """What was cleared, in a sentence."""
    return f"cleared {count(number, 'entry', 'entries')}, {size(freed)}; undo brings it back until the next prune"


def undone_line(store: Store) -> str:
    """Undo the last clear, and say what came of it.

    Raises:
        CacheError: it cannot be undone.
    """
    back = store.undo()
    if back is None:
        return "there is nothing to bring back"
    kept = f"; {len(back.superseded)} made again meanwhile stay as they are" if back.superseded else ""
    return f"brought back {count(len(back.entries), 'entry', 'entries')}{kept}"


def pruned_line(store: Store) -> str:
    """Prune, and say what that gave.

    Raises:
        CacheError: it cannot be deleted.
    """
    before = store.bytes_on_disk()
    cleared, leftovers = store.prune()
    freed = max(before - store.bytes_on_disk(), 0)
    parts = f"{count(cleared, 'cleared entry', 'cleared entries')} and {count(leftovers, 'leftover')}"
    return f"deleted {parts}, freed {size(freed)}"
