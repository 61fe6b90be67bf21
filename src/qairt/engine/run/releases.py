"""Letting go of large files in a run: an item's, when the last item of the plan that reads it has ended."""

from __future__ import annotations

import threading

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.releasing import release
from qairt.engine.plan.disk import let_go_items
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.plan.reads import items_read
from qairt.engine.record.folder import live_runs
from qairt.engine.run.inputs import ItemInputs
from qairt.errors import CacheError


class Releases:
    """What one run lets go of. What a run that fails or is stopped has not let go of yet stays for the next one.

    Args:
        run_id: of this run; another one of this cache may still need what this one does not.
    """

    def __init__(self, cache: StageCache, inputs: ItemInputs, run_id: str) -> None:
        self._cache, self._inputs, self._run_id = cache, inputs, run_id
        self._lock = threading.Lock()
        self._plan = Plan()
        self._readers: dict[int, set[str]] = {}
        """By item, those that read it and have not ended."""
        self._items: dict[int, PlannedItem] = {}
        """Those that may be let go of before the end of the run."""
        self.bytes = 0
        """Freed on disk."""

    def follow(self, plan: Plan, asked: frozenset[str]) -> None:
        """Start with a plan: what none of its items reads is let go of now."""
        with self._lock:
            self._plan = plan
            shown = {id(item) for output in plan.outputs if not output.current for item in output.items}
            may_go = [item for item in let_go_items(plan) if item.name not in asked]
            self._items = {id(item): item for item in may_go if id(item) not in shown}
            self._readers = {id(item): set() for item in may_go}
            for item in plan.to_run():
                for read in items_read(item):
                    if id(read) in self._readers:
                        self._readers[id(read)].add(item.name)
            idle = [item for number, item in self._items.items() if item.cached and not self._readers[number]]
        self._release(idle)

    def ended(self, item: PlannedItem) -> None:
        """An item is made: let go of what only it was left to read."""
        with self._lock:
            free = []
            for read in items_read(item):
                readers = self._readers.get(id(read))
                if readers is not None and item.name in readers:
                    readers.discard(item.name)
                    if not readers and id(read) in self._items:
                        free.append(read)
        self._release(free)

    def close(self) -> None:
        """The run has finished, and so have its pictures: let go of the rest."""
        self._release([item for item in let_go_items(self._plan) if id(item) in self._readers])

    def _release(self, items: list[PlannedItem]) -> None:
        if not items or self._others_run():
            return
        for item in items:
            try:
                output = self._inputs.output(item)
            except CacheError:  # it is gone
                continue
            if item.entry is None:
                continue
            kept = [path for field in item.stage.long_read for path in [getattr(output, field)] if path is not None]
            released = release(self._cache, item.entry, kept=kept)
            if released is not None:
                item.entry = released.entry
                with self._lock:
                    self.bytes += released.bytes

    def _others_run(self) -> bool:
        """Whether another run of this cache is in progress: nobody knows what it needs next."""
        return any(folder.id != self._run_id for folder in live_runs(self._cache.cache_dir))
