"""The order of items that could run at the same time: a few rules are simulated, and the fastest is used.

The order decides how long cores are idle at the end, while the last part is linked.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from qairt.engine.plan.planned import PlannedItem

Key = tuple[float, int, int]
"""The smallest runs first."""


def urgency(items: list[PlannedItem], jobs: int) -> dict[int, Key]:
    """A sort key for each item, by the rule with the shortest makespan for the expected seconds."""
    return min(rules(items), key=lambda keys: makespan(items, keys, jobs))


def rules(items: list[PlannedItem]) -> list[dict[int, Key]]:
    """A sort key for each item, by each rule."""
    by_merge = [merge_by_merge(items, longest_first=longest_first) for longest_first in (True, False)]
    return [longest_path(items), *by_merge]


def longest_path(items: list[PlannedItem]) -> dict[int, Key]:
    """The item at the start of the longest path runs first."""
    left: dict[int, float] = {}
    for item in reversed(items):  # dependents come after their sources
        left[id(item)] = item.seconds + left.get(id(item), 0.0)
        for source in item.waits_for:
            left[id(source)] = max(left.get(id(source), 0.0), left[id(item)])
    return {id(item): (-left[id(item)], 0, position) for position, item in enumerate(items)}


def merge_by_merge(items: list[PlannedItem], *, longest_first: bool) -> dict[int, Key]:
    """Items that lead to the same merge run together, those further down the pipeline first."""
    keys: dict[int, Key] = {}
    for position, item in reversed(list(enumerate(items))):
        if len(item.waits_for) > 1 or id(item) not in keys:
            keys[id(item)] = (-item.seconds if longest_first else item.seconds, position, -position)
        for source in item.waits_for:
            reached = (*keys[id(item)][:2], 0)
            keys[id(source)] = min(keys.get(id(source), reached), reached)
        keys[id(item)] = (*keys[id(item)][:2], -position)
    return keys


def makespan(
    items: list[PlannedItem],
    keys: Mapping[int, Key],
    jobs: int,
    started: Callable[[PlannedItem], None] = lambda item: None,
    ended: Callable[[PlannedItem], None] = lambda item: None,
) -> float:
    """Seconds until the last of `items` ends, `jobs` at a time, the smallest key first.

    Args:
        started: called with each item when it starts.
        ended: called with each item when it ends.
    """
    missing = {id(item): 0 for item in items}
    dependents: dict[int, list[PlannedItem]] = {}
    for item in items:
        for source in item.waits_for:
            if id(source) in missing:
                missing[id(item)] += 1
                dependents.setdefault(id(source), []).append(item)
    by_id = {id(item): item for item in items}
    ready = [(keys[number], number) for number, needed in missing.items() if not needed]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < jobs:
            _, number = heapq.heappop(ready)
            started(by_id[number])
            heapq.heappush(running, (now + by_id[number].seconds, number))
        now, number = heapq.heappop(running)
        ended(by_id[number])
        for item in dependents.get(number, ()):
            missing[id(item)] -= 1
            if not missing[id(item)]:
                heapq.heappush(ready, (keys[id(item)], id(item)))
    return now
