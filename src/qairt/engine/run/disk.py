"""Whether a plan fits on the disk of its cache."""

from __future__ import annotations

from pathlib import Path

from qairt.amounts import size
from qairt.engine.plan.planned import Plan
from qairt.errors import CacheError
from qairt.machine import free_space

_SHARE = 4
"""What a stage estimates for an item that was never made is taken for at most this many times too much."""
_REMEDY = "free space on that disk (`qairt cache prune` removes what no run needs), or use another one with --cache-dir"


def require_space(plan: Plan, state_folder: Path) -> str | None:
    """
    Returns:
        A warning, where the plan's bytes may not fit.

    Raises:
        CacheError: the run cannot end: one item alone wrote more in an earlier run than is free now, or a quarter of
            what the stages estimate is more.
    """
    free = free_space(state_folder)
    to_run = plan.to_run()
    needed = sum(item.bytes for item in to_run)
    if free is None or free >= needed:
        return None
    largest = max((item.bytes for item in to_run if item.from_history), default=0)
    new = sum(item.bytes for item in to_run if not item.from_history and item.last is None)
    what = f"the run writes about {size(needed)}, and {size(free)} is free"
    if free < max(largest, new // _SHARE):
        raise CacheError(f"no space left on device: {what}", where=str(state_folder), remedy=_REMEDY)
    return f"the disk of {state_folder} may become full: {what}; {_REMEDY}"
