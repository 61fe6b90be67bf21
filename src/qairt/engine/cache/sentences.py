"""One sentence each for the result of clear, undo and prune, on the screen and in the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.amounts import count, short_age, size

if TYPE_CHECKING:
    from qairt.engine.cache.store import Store


def cleared_line(freed: int, number: int) -> str:
    """What was cleared."""
    return f"cleared {count(number, 'entry', 'entries')}: frees {size(freed)} at the next prune; undo brings it back"


def when_cleared(moment: float, now: float, undo: str) -> str:
    """`cleared 1 min ago · z brings it back`.

    Args:
        undo: the key or command that does.
    """
    return f"cleared {short_age(now - moment)} ago · {undo} brings it back"


def undone_line(store: Store) -> str:
    """Undo the last clear, and describe the result.

    Raises:
        CacheError: it cannot be undone.
    """
    restored = store.undo()
    if restored is None:
        return "there is nothing to undo"
    rebuilt = len(restored.superseded)
    kept = f"; {rebuilt} rebuilt since then {'is' if rebuilt == 1 else 'are'} kept" if rebuilt else ""
    return f"restored {count(len(restored.entries), 'entry', 'entries')}{kept}"


def pruned_line(store: Store) -> str:
    """Prune, and describe the result.

    Raises:
        CacheError: it cannot be deleted.
    """
    before = store.bytes_on_disk()
    cleared, leftovers = store.prune()
    freed = max(before - store.bytes_on_disk(), 0)
    parts = f"{count(cleared, 'cleared entry', 'cleared entries')} and {count(leftovers, 'leftover')}"
    return f"deleted {parts}, freed {size(freed)}"
