"""How much disk a plan takes at its peak: it grows with every item, and shrinks when files are let go.

1. An item takes its bytes from its start on. Bytes that several items share are those of the first.
2. What an item wrote may be linked by the intermediate items made from it: its bytes are free when the last item has
   ended that reads any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.engine.plan.demand import is_let_go
from qairt.engine.plan.order import Key, makespan, rules
from qairt.engine.plan.reads import items_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qairt.engine.plan.planned import Plan, PlannedItem

_ORDERED_FOR = 0.8
"""Of the bytes that a run may take: those of items that were never made are estimated."""


class DiskUse:
    """The bytes that the items of a plan take on disk as they start and end."""

    def __init__(self, plan: Plan) -> None:
        going = {id(item): item for item in let_go_items(plan)}
        readers: dict[int, set[int]] = {number: set() for number in going}
        for item in plan.to_run():
            for read in items_read(item):
                if id(read) in readers:
                    readers[id(read)].add(id(item))
        self._bytes = {number: item.bytes for number, item in going.items() if item.runs or item.cached}
        waits_for = {number: readers[number] | ({number} if going[number].runs else set()) for number in going}
        for number, item in going.items():
            for above in item.upstream if item.stage.worth == "intermediate" else ():
                if id(above) in going:
                    waits_for[id(above)] |= waits_for[number] | readers[number]
        for shared in _sharing(going.values()):
            waited = set[int]().union(*(waits_for[number] for number in shared))
            waits_for |= dict.fromkeys(shared, waited)
        self._missing = {number: len(waited) for number, waited in waits_for.items()}
        """By item that is let go, how many items must still end before its bytes are free."""
        self._waiting: dict[int, list[int]] = {}
        """By item that must end, those that wait for it."""
        for number, waited in waits_for.items():
            for other in waited:
                self._waiting.setdefault(other, []).append(number)
        self.used = 0
        """Bytes more than before the first item."""

    def started(self, item: PlannedItem) -> None:
        self.used += item.bytes

    def failed(self, item: PlannedItem) -> None:
        """What it wrote is deleted."""
        self.used -= item.bytes

    def ended(self, item: PlannedItem) -> None:
        for number in self._waiting.pop(id(item), ()):
            self._missing[number] -= 1
            if not self._missing[number]:
                self.used -= self._bytes.pop(number, 0)


class DiskLimit(DiskUse):
    """What the items take, against what they may take.

    Args:
        jobs: items at a time.
        bytes: that they may add.
    """

    def __init__(self, plan: Plan, jobs: int, bytes: int) -> None:
        super().__init__(plan)
        self.order = within(plan, jobs, bytes)
        """A sort key for each item."""
        self._limit = bytes

    def fits(self, item: PlannedItem) -> bool:
        """Whether there is room for it now."""
        return self.used + item.bytes <= self._limit


def peak_disk(plan: Plan, jobs: int, keys: Mapping[int, Key] | None = None) -> int:
    """Bytes that a plan takes on disk at its peak, beyond what is there.

    Args:
        keys: the order of its items; the fastest if left out.
    """
    items = plan.to_run()
    chosen = keys if keys is not None else min(rules(items), key=lambda keys: makespan(items, keys, jobs))
    return _peak(plan, chosen, jobs)


def least_disk(plan: Plan) -> int:
    """The same in the order that takes least."""
    return min(_peak(plan, keys, 1) for keys in rules(plan.to_run()))


def let_go_items(plan: Plan) -> list[PlannedItem]:
    """The items whose files are let go when nothing reads them any more."""
    last = {id(item) for item in plan.stages[-1].batch.values()} if plan.stages else set()
    return [
        item
        for planned in plan.stages
        if is_let_go(plan, planned.stage)
        for item in planned.items
        if id(item) not in last
    ]


def _sharing(items: Iterable[PlannedItem]) -> Iterable[list[int]]:
    """The groups of items that share a file: it is free when nobody reads any of them."""
    groups: dict[tuple[str, str], list[int]] = {}
    for item in items:
        if item.task.shares:
            groups.setdefault((item.stage.name, item.task.shares), []).append(id(item))
    return groups.values()


def within(plan: Plan, jobs: int, disk: int) -> Mapping[int, Key]:
    """A sort key for each item: the fastest order that stays well within `disk` bytes, or else the one that takes
    least."""
    items = plan.to_run()
    found = [(makespan(items, keys, jobs), _peak(plan, keys, jobs), keys) for keys in rules(items)]
    fitting = [each for each in found if each[1] <= _ORDERED_FOR * disk]
    return min(fitting, key=lambda each: each[0])[2] if fitting else min(found, key=lambda each: each[1])[2]


def _peak(plan: Plan, keys: Mapping[int, Key], jobs: int) -> int:
    use, peak = DiskUse(plan), 0

    def started(item: PlannedItem) -> None:
        nonlocal peak
        use.started(item)
        peak = max(peak, use.used)

    makespan(plan.to_run(), keys, jobs, started, use.ended)
    return peak
