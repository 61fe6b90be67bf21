"""Which item runs next: as soon as what it is made from exists, a core is free and its memory fits.

Stages need no barrier: an item waits for its own sources only. What leads to the same merge is made together, the
longest merge first, and within that what is further down the pipeline goes first: so one part's long last step overlaps
with the early steps of the next part, and the shortest is left for the end.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from qairt.engine.plan import PlannedItem

RunItem = Callable[[PlannedItem, int, Callable[[], None]], None]
"""`run(item, threads, computed)` raises if the item failed; it calls `computed` when only storing the result is left."""


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
        jobs: items computed at once.
        memory: bytes that the running items' estimated peaks may add up to; one item always runs.
        cores: threads to share. An item gets what it can use, at most `cores // (items that can run beside it)`;
            together they get no more than there are.
        stop: set to start nothing new.
    """
    outcome = Outcome()
    waiting = {id(item): item for item in items}
    urgency = _urgency(items)
    running: dict[int, threading.Thread] = {}
    computing: dict[int, tuple[PlannedItem, int]] = {}  # those of `running` that hold memory and threads
    news: queue.SimpleQueue[tuple[Literal["computed", "ended"], PlannedItem, BaseException | None]] = (
        queue.SimpleQueue()
    )
    pending_or_lost = set(waiting)  # not made: waiting, running, failed or skipped

    def worker(item: PlannedItem, threads: int) -> None:
        try:
            run(item, threads, lambda: news.put(("computed", item, None)))
        except BaseException as error:  # handed to the caller, who decides
            news.put(("ended", item, error))
        else:
            news.put(("ended", item, None))

    def start(item: PlannedItem, threads: int) -> None:
        thread = threading.Thread(target=worker, args=(item, threads), name=item.name, daemon=True)
        running[id(item)], computing[id(item)] = thread, (item, threads)
        thread.start()

    while waiting or running:
        ready = [item for item in waiting.values() if not any(id(s) in pending_or_lost for s in item.sources)]
        ready.sort(key=lambda item: urgency[id(item)])
        contenders = max(1, min(jobs, len(ready) + len(computing)))
        for item in ready if not stop.is_set() else ():
            used = sum(other.peak_ram for other, _ in computing.values())
            free = cores - sum(threads for _, threads in computing.values())
            if len(computing) >= jobs or (computing and (free < 1 or used + item.peak_ram > memory)):
                continue
            del waiting[id(item)]
            start(item, max(1, min(item.task.estimate.threads, cores // contenders, free)))
        if not running:
            break
        try:
            what, item, error = news.get()
        except KeyboardInterrupt:  # children are ended by their own threads, which see `stop`
            stop.set()
            continue
        computing.pop(id(item), None)
        if what == "computed":
            continue
        running.pop(id(item)).join()
        if error is None:
            pending_or_lost.discard(id(item))
            outcome.done.append(item)
        else:
            outcome.failed.append((item, error))
            _skip_dependents(item, waiting, outcome)
    outcome.skipped += [(item, None) for item in waiting.values()]
    return outcome


def _urgency(items: list[PlannedItem]) -> dict[int, tuple[float, int, int]]:
    """A sort key for each item: the merge it leads to, then how far down the pipeline it is."""
    place = {id(item): number for number, item in enumerate(items)}
    keys: dict[int, tuple[float, int, int]] = {}
    for item in reversed(items):  # what follows an item stands after it
        following = [other for other in items[place[id(item)] + 1 :] if any(s is item for s in other.sources)]
        merge = item if len(item.sources) > 1 else next((other for other in following if len(other.sources) > 1), None)
        if merge is not None:
            first = (-merge.seconds, place[id(merge)])
        elif following:
            first = min(keys[id(other)][:2] for other in following)
        else:
            first = (-item.seconds, place[id(item)])
        keys[id(item)] = (*first, -place[id(item)])
    return keys


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
