"""Which item runs next: as soon as what it is made from exists, a core is free and its memory fits.

Stages need no barrier: an item waits for its own sources only. Of several that could start, one further down the
pipeline goes first, so that a part's long last steps overlap with another part's early ones.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qairt.engine.plan import PlannedItem

RunItem = Callable[[PlannedItem, int], None]
"""`run(item, threads)`; raises if the item failed."""


@dataclass
class Outcome:
    """How a batch of items ended."""

    done: list[PlannedItem] = field(default_factory=list)
    failed: list[tuple[PlannedItem, BaseException]] = field(default_factory=list)
    skipped: list[tuple[PlannedItem, PlannedItem | None]] = field(default_factory=list)
    """With the item whose failure it was, None when the run was stopped."""


def run_items(
    items: list[PlannedItem], run: RunItem, *, jobs: int, memory: int, cores: int, stop: threading.Event
) -> Outcome:
    """Run `items`, whose sources are either among them or made already.

    Args:
        jobs: items at once.
        memory: bytes that the running items' estimated peaks may add up to; one item always runs.
        cores: threads to share: a running item gets `cores // (items that can run beside it)`.
        stop: set to start nothing new.
    """
    outcome = Outcome()
    waiting = {id(item): item for item in items}
    order = {id(item): place for place, item in enumerate(items)}
    running: dict[int, tuple[PlannedItem, threading.Thread]] = {}
    finished: queue.SimpleQueue[tuple[PlannedItem, BaseException | None]] = queue.SimpleQueue()
    pending_or_lost = set(waiting)  # not made: waiting, running, failed or skipped

    def worker(item: PlannedItem, threads: int) -> None:
        try:
            run(item, threads)
        except BaseException as error:  # handed to the caller, who decides
            finished.put((item, error))
        else:
            finished.put((item, None))

    def start(item: PlannedItem, threads: int) -> None:
        thread = threading.Thread(target=worker, args=(item, threads), name=item.name, daemon=True)
        running[id(item)] = (item, thread)
        thread.start()

    while waiting or running:
        ready = [item for item in waiting.values() if not any(id(s) in pending_or_lost for s in item.sources)]
        ready.sort(key=lambda item: order[id(item)], reverse=True)
        if not stop.is_set():
            threads = max(1, cores // max(1, min(jobs, len(ready) + len(running))))
            for item in ready:
                used = sum(other.peak_ram for other, _ in running.values())
                if len(running) >= jobs or (running and used + item.peak_ram > memory):
                    continue
                del waiting[id(item)]
                start(item, threads)
        if not running:
            break
        try:
            item, error = finished.get()
        except KeyboardInterrupt:  # children are ended by their own threads, which see `stop`
            stop.set()
            continue
        running.pop(id(item))[1].join()
        if error is None:
            pending_or_lost.discard(id(item))
            outcome.done.append(item)
        else:
            outcome.failed.append((item, error))
            _skip_dependents(item, waiting, outcome)
    outcome.skipped += [(item, None) for item in waiting.values()]
    return outcome


def _skip_dependents(lost: PlannedItem, waiting: dict[int, PlannedItem], outcome: Outcome) -> None:
    """Everything that needs `lost`, directly or not, will not run."""
    gone = {id(lost)}
    grew = True
    while grew:
        dependents = [item for item in waiting.values() if any(id(source) in gone for source in item.sources)]
        for item in dependents:
            gone.add(id(item))
            del waiting[id(item)]
            outcome.skipped.append((item, lost))
        grew = bool(dependents)
