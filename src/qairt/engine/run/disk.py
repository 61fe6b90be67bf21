"""Whether a plan fits on the disk of its cache, and within the bytes that it may take there."""

from __future__ import annotations

from pathlib import Path

from qairt.amounts import option_size, size
from qairt.engine.cache.store import Store
from qairt.engine.plan.disk import DiskLimit, least_disk, peak_disk, within
from qairt.engine.plan.planned import Plan
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError
from qairt.machine import free_space

_SHARE = 4
"""What a stage estimates for an item that was never made is taken for at most this many times too much."""
_REMEDY = "free space on that disk (`qairt cache prune` removes what no run needs), or use another one with --cache-dir"


def disk_limit(plan: Plan, options: RunOptions, state_folder: Path) -> DiskLimit | None:
    """What a run of the plan may add to the cache directory; None without a limit."""
    limit = _free_of_limit(options, state_folder)
    return None if limit is None else DiskLimit(plan, options.jobs, limit)


def expected_peak(plan: Plan, options: RunOptions, limit: int | None) -> int:
    """Bytes that a run of the plan takes on disk at its peak, beyond what is there.

    Args:
        limit: bytes that it may add, as `require_within_limit` returns them.
    """
    order = None if limit is None else within(plan, options.jobs, limit)
    return peak_disk(plan, options.jobs, order)


def require_within_limit(plan: Plan, options: RunOptions, state_folder: Path) -> int | None:
    """
    Returns:
        Bytes that a run may add to the cache directory; None without a limit.

    Raises:
        CacheError: the plan takes more than `options.disk`, in whatever order.
    """
    limit = _free_of_limit(options, state_folder)
    if limit is None or options.disk is None:
        return None
    least, there = least_disk(plan), options.disk - limit
    if least > limit:
        raise CacheError(
            f"the run takes at least {size(there + least)} of disk at its peak, and --disk allows {size(options.disk)}",
            where=str(state_folder.parent),
            remedy=f"give --disk {option_size(there + least)} or more, or set `keep: bundle` in the recipe, "
            "which deletes all else once it is used",
        )
    return limit


def require_space(plan: Plan, state_folder: Path, options: RunOptions) -> str | None:
    """
    Returns:
        A warning, where the plan's bytes may not fit.

    Raises:
        CacheError: the run cannot end: it takes more than it may, one item alone wrote more in an earlier run than is
            free now, or a quarter of what the stages estimate is more.
    """
    limit = require_within_limit(plan, options, state_folder)
    free = free_space(state_folder)
    to_run = plan.to_run()
    needed = expected_peak(plan, options, limit)
    if free is None or free >= needed:
        return None
    largest = max((item.bytes for item in to_run if item.from_history), default=0)
    new = min(needed, sum(item.bytes for item in to_run if not item.from_history and item.last is None))
    what = f"the run writes about {size(needed)}, and {size(free)} is free"
    if free < max(largest, new // _SHARE):
        raise CacheError(f"no space left on device: {what}", where=str(state_folder), remedy=_REMEDY)
    return f"the disk of {state_folder} may become full: {what}; {_REMEDY}"


def _free_of_limit(options: RunOptions, state_folder: Path) -> int | None:
    if options.disk is None:
        return None
    return max(options.disk - Store(state_folder.parent).bytes_on_disk(), 0)
