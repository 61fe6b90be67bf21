"""Which item runs next: as soon as what it is made from exists, a core is free and its memory fits.

Stages need no barrier: an item waits for its own sources only; `order` says which of several goes first.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from qairt.engine.plan.order import urgency
from qairt.engine.plan.planned import PlannedItem

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


@dataclass
class _News:
    what: Literal["computed", "ended", "cancel", "retry", "look"]
    item: PlannedItem | None = None
    error: BaseException | None = None


class Scheduler:
    """Runs items, whose sources are either among them or made already.

    `cancel`, `retry` and `look` may be called from other threads while `run` runs.

    Args:
        jobs: items computed at once.
        memory: bytes that the running items' estimated peaks may add up to; one item always runs.
        cores: threads to share. An item gets what it can use, at most `cores // (items that can run beside it)`;
            together they get no more than there are.
        stop: set to start nothing new.
        paused: while set, nothing new is started.
        blocked: told of each item that will not run, and whose failure that is (None: the run was stopped).
        unblocked: told of each item that waits again.
    """

    def __init__(
        self,
        items: list[PlannedItem],
        run: RunItem,
        *,
        jobs: int,
        memory: int,
        cores: int,
        stop: threading.Event,
        paused: threading.Event | None = None,
        blocked: Callable[[PlannedItem, PlannedItem | None], None] = lambda item, cause: None,
        unblocked: Callable[[PlannedItem], None] = lambda item: None,
    ) -> None:
        self._run, self._jobs, self._memory, self._cores = run, jobs, memory, cores
        self._stop, self._paused = stop, paused or threading.Event()
        self._blocked, self._unblocked = blocked, unblocked
        self._outcome = Outcome()
        self._waiting = {id(item): item for item in items}
        self._urgency = urgency(items, jobs)
        self._running: dict[int, threading.Thread] = {}
        self._computing: dict[int, tuple[PlannedItem, int]] = {}
        """Those of `_running` that hold memory and threads."""
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._ended: dict[int, tuple[PlannedItem, BaseException | None]] = {}
        """Survives an interrupt that swallows the news."""
        self._unmade = set(self._waiting)
        """Waiting, running, failed or skipped."""

    def run(self) -> Outcome:
        """Run until nothing is left that can."""
        while self._waiting or self._running:
            self._start_what_can()
            if not self._running and not (self._waiting and self._paused.is_set() and not self._stop.is_set()):
                break
            try:
                self._take(self._news.get(timeout=_PATIENCE))
            except KeyboardInterrupt:  # children are ended by their own threads, which see `stop`
                self._stop.set()
            except queue.Empty:
                lost = next((self._ended[key] for key in self._running if key in self._ended), None)
                if lost is not None:
                    self._take(_News("ended", *lost))
        for item in self._waiting.values():
            self._skip(item, None)
        return self._outcome

    def cancel(self, item: PlannedItem) -> None:
        """Do not start an item that waits; what needs it is skipped with it."""
        self._news.put(_News("cancel", item))

    def retry(self) -> None:
        """Let items that failed, and those that were skipped for that, run after all."""
        self._news.put(_News("retry"))

    def look(self) -> None:
        """Something changed from outside: see at once what can start."""
        self._news.put(_News("look"))

    # Inside: one thread only

    def _start_what_can(self) -> None:
        if self._stop.is_set() or self._paused.is_set():
            return
        ready = [item for item in self._waiting.values() if not any(id(s) in self._unmade for s in item.sources)]
        ready.sort(key=lambda item: (not item.task.estimate.alone, self._urgency[id(item)]))
        contenders = max(1, min(self._jobs, len(ready) + len(self._computing)))
        for item in ready:
            alone = item.task.estimate.alone
            if self._computing and (alone or any(other.task.estimate.alone for other, _ in self._computing.values())):
                continue
            used = sum(other.peak_ram for other, _ in self._computing.values())
            free = self._cores - sum(threads for _, threads in self._computing.values())
            too_much = free < 1 or used + item.peak_ram > self._memory
            if len(self._computing) >= self._jobs or (self._computing and too_much):
                continue
            del self._waiting[id(item)]
            share = self._cores if alone else self._cores // contenders
            self._start(item, max(1, min(item.task.estimate.threads, share, free)))

    def _start(self, item: PlannedItem, threads: int) -> None:
        thread = threading.Thread(target=self._worker, args=(item, threads), name=item.name, daemon=True)
        self._ended.pop(id(item), None)
        self._running[id(item)], self._computing[id(item)] = thread, (item, threads)
        thread.start()

    def _worker(self, item: PlannedItem, threads: int) -> None:
        error = None
        try:
            self._run(item, threads, lambda: self._news.put(_News("computed", item)))
        except BaseException as raised:  # handed to the caller, who decides
            error = raised
        self._ended[id(item)] = (item, error)
        self._news.put(_News("ended", item, error))

    def _take(self, news: _News) -> None:
        item = news.item
        if news.what == "retry":
            self._try_again()
        elif item is None:
            pass
        elif news.what == "cancel":
            if self._waiting.pop(id(item), None) is not None:
                self._skip(item, None)
                self._skip_dependents(item)
        elif id(item) in self._running:  # else its news was lost, found, and came after all
            self._computing.pop(id(item), None)
            if news.what == "ended":
                self._end(item, news.error)

    def _end(self, item: PlannedItem, error: BaseException | None) -> None:
        self._running.pop(id(item)).join()
        if error is None:
            self._unmade.discard(id(item))
            self._outcome.done.append(item)
        else:
            self._outcome.failed.append((item, error))
            self._skip_dependents(item)

    def _skip_dependents(self, lost: PlannedItem) -> None:
        """Everything that needs `lost`, directly or not, will not run."""
        gone = {id(lost)}
        grew = True
        while grew:
            dependents = [item for item in self._waiting.values() if any(id(source) in gone for source in item.sources)]
            for item in dependents:
                gone.add(id(item))
                del self._waiting[id(item)]
                self._skip(item, lost)
            grew = bool(dependents)

    def _skip(self, item: PlannedItem, cause: PlannedItem | None) -> None:
        self._outcome.skipped.append((item, cause))
        self._blocked(item, cause)

    def _try_again(self) -> None:
        again = [item for item, _ in self._outcome.failed] + [item for item, _ in self._outcome.skipped]
        self._outcome.failed.clear()
        self._outcome.skipped.clear()
        for item in again:
            self._waiting[id(item)] = item
            self._unblocked(item)
