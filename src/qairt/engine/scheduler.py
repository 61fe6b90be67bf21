"""Which item runs next: as soon as what it is made from exists, a core is free and its memory fits.

Stages need no barrier: an item waits for its own sources only. Which of several goes first decides how long cores stand
idle at the end, while the last part is linked: a few simple orders are tried on paper, and the shortest is taken.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from qairt.engine.plan import PlannedItem

Key = tuple[float, int, int]
"""Smaller goes first."""

RunItem = Callable[[PlannedItem, int, Callable[[], None]], None]
"""`run(item, threads, computed)` raises if the item failed, and calls `computed` when only storing it is left."""


_PATIENCE = 0.5  # seconds


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
    urgency = _urgency(items, jobs)
    running: dict[int, threading.Thread] = {}
    computing: dict[int, tuple[PlannedItem, int]] = {}  # those of `running` that hold memory and threads
    news: queue.SimpleQueue[tuple[Literal["computed", "ended"], PlannedItem, BaseException | None]] = (
        queue.SimpleQueue()
    )
    results: dict[int, tuple[PlannedItem, BaseException | None]] = {}  # survive an interrupt that swallows the news
    pending_or_lost = set(waiting)  # not made: waiting, running, failed or skipped

    def worker(item: PlannedItem, threads: int) -> None:
        try:
            run(item, threads, lambda: news.put(("computed", item, None)))
        except BaseException as error:  # handed to the caller, who decides
            results[id(item)] = (item, error)
        else:
            results[id(item)] = (item, None)
        news.put(("ended", *results[id(item)]))

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
            what, item, error = news.get(timeout=_PATIENCE)
        except KeyboardInterrupt:  # children are ended by their own threads, which see `stop`
            stop.set()
            continue
        except queue.Empty:
            lost = next((results[key] for key in running if key in results), None)
            if lost is None:
                continue
            what, (item, error) = "ended", lost
        if id(item) not in running:  # its news was lost, found, and came after all
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


def _urgency(items: list[PlannedItem], jobs: int) -> dict[int, Key]:
    """A sort key for each item: by the rule that would end soonest with the seconds that are expected."""
    by_merge = [_merge_by_merge(items, longest_first=longest_first) for longest_first in (True, False)]
    rules = [_longest_path(items), *by_merge]
    return min(rules, key=lambda keys: _makespan(items, keys, jobs))


def _longest_path(items: list[PlannedItem]) -> dict[int, Key]:
    """What the most seconds depend on goes first."""
    left: dict[int, float] = {}
    for item in reversed(items):  # what follows an item stands after it
        left[id(item)] = item.seconds + left.get(id(item), 0.0)
        for source in item.sources:
            left[id(source)] = max(left.get(id(source), 0.0), left[id(item)])
    return {id(item): (-left[id(item)], 0, place) for place, item in enumerate(items)}


def _merge_by_merge(items: list[PlannedItem], *, longest_first: bool) -> dict[int, Key]:
    """What leads to one merge is made together, and of that what is further down the pipeline goes first."""
    keys: dict[int, Key] = {}
    for place, item in reversed(list(enumerate(items))):
        if len(item.sources) > 1 or id(item) not in keys:
            keys[id(item)] = (-item.seconds if longest_first else item.seconds, place, -place)
        for source in item.sources:
            reached = (*keys[id(item)][:2], 0)
            keys[id(source)] = min(keys.get(id(source), reached), reached)
        keys[id(item)] = (*keys[id(item)][:2], -place)
    return keys


def _makespan(items: list[PlannedItem], keys: dict[int, Key], jobs: int) -> float:
    """Seconds until the last of `items` would end, `jobs` at once, the smallest key first."""
    inside = {id(item) for item in items}
    waiting = sorted(items, key=lambda item: keys[id(item)])
    running: list[tuple[float, PlannedItem]] = []
    done: set[int] = set()
    now = 0.0
    while waiting or running:
        ready = [item for item in waiting if all(id(s) in done or id(s) not in inside for s in item.sources)]
        for item in ready[: jobs - len(running)]:
            waiting.remove(item)
            running.append((now + item.seconds, item))
        ending = min(running, key=lambda entry: entry[0])
        running.remove(ending)
        now = ending[0]
        done.add(id(ending[1]))
    return now


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
