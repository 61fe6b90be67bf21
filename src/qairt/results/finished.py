"""What finished items left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qairt.errors import CacheError

if TYPE_CHECKING:
    from qairt.engine.cache.cache import StageCache
    from qairt.engine.plan.planned import PlannedItem


def output_of(cache: StageCache, item: PlannedItem, source: str) -> Any:
    """A finished item's output.

    Args:
        source: the recipe as remedies name it.

    Raises:
        CacheError: it is not there, or was damaged.
    """
    output = cache.get(item.key, type(item.stage))
    if output is None:
        raise CacheError("it was damaged and is set aside", where=item.name, remedy=f"qairt run {source}")
    return output
