"""Which item runs next: one whose sources exist, when a core is free and its memory fits.

There is no barrier between stages: an item waits only for what it is made from; `order` decides which one goes first.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from qairt.engine.plan.order import urgency
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.run.capacity import Capacity, Computing, Place
from qairt.engine.run.stop import TryAgain, TryAlone

RunItem = Callable[[PlannedItem, Place, Callable[[], None]], None]
"""`run(item, place, computed)` raises if the item failed, and calls `computed` when it only has to be stored. After
`TryAgain` the item runs again; after `TryAlone` with nothing beside it."""

_POLL = 0.5  # seconds after which a lost message is looked for


@dataclass
class Outcome:
    """How the items ended."""

    done: list[PlannedItem] = field(default_factory=list)
    failed: list[tuple[PlannedItem, BaseException]] = field(default_factory=list)
    skipped: list[tuple[PlannedItem, PlannedItem | None]] = field(default_factory=list)
    """With the item whose failure was the cause; None if the run was stopped."""


@dataclass
class _Message:
    what: Literal["computed", "ended", "cancel", "retry", "wake"]
    item: PlannedItem | None = None
    error: BaseException | None = None


class Scheduler:
    """Runs items; what they are made from is either among them or finished.

    `cancel`, `retry` and `wake` may be called from other threads while `run` runs.

    Args:
        stop: set to start nothing new.
        paused: while set, nothing new is started.
        on_blocked: called with each item that will not run and the item whose failure is the cause (None: stopped).
        on_unblocked: called with each item that waits again.
    """

    def __init__(
        self,
        items: list[PlannedItem],
        run: RunItem,
        capacity: Capacity,
        *,
        stop: threading.Event,
        paused: threading.Event | None = None,
        on_blocked: Callable[[PlannedItem, PlannedItem | None], None] = lambda item, cause: None,
        on_unblocked: Callable[[PlannedItem], None] = lambda item: None,
    ) -> None:
        self._run, self._capacity = run, capacity
        self._stop, self._paused = stop, paused or threading.Event()
        self._on_blocked, self._on_unblocked = on_blocked, on_unblocked
        self._outcome = Outcome()
        self._waiting = {id(item): item for item in items}
        self._missing: dict[int, int] = {}
        """How many unfinished items each one is made from, directly or not."""
        self._leads_to: dict[int, list[int]] = {}
        self._disk = capacity.disk
        self._urgency = urgency(items, capacity.jobs) if self._disk is None else self._disk.order
        self._running: dict[int, threading.Thread] = {}
        self._computing: dict[int, Computing] = {}
        """The running items that use memory and threads."""
        self._alone: set[int] = set()
        """Items that ran out of memory beside others."""
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._ended: dict[int, tuple[PlannedItem, BaseException | None]] = {}
        """Survives an interrupt that loses a message."""
        for item in items:
            above = {id(source) for source in item.upstream} & self._waiting.keys()
            self._missing[id(item)] = len(above)
            for source in above:
                self._leads_to.setdefault(source, []).append(id(item))
        self._ready = {number for number, missing in self._missing.items() if not missing}
        """Items whose sources are finished; they wait, run, or have failed."""

    def run(self) -> Outcome:
        """Run until nothing more can run."""
        while self._waiting or self._running:
            self._start_ready_items()
            if not self._running and not self._waits():
                break
            try:
                self._take(self._messages.get(timeout=_POLL))
            except KeyboardInterrupt:  # children are ended by their own threads, which see `stop`
                self._stop.set()
            except queue.Empty:
                lost = next((self._ended[key] for key in self._running if key in self._ended), None)
                if lost is not None:
                    self._take(_Message("ended", *lost))
        for item in self._waiting.values():
            self._skip(item, None)
        return self._outcome

    def cancel(self, item: PlannedItem) -> None:
        """Do not start a waiting item; its dependents are skipped too."""
        self._messages.put(_Message("cancel", item))

    def retry(self) -> None:
        """Run failed items again, and those that were skipped because of them."""
        self._messages.put(_Message("retry"))

    def wake(self) -> None:
        """Something changed from outside: check now what can start."""
        self._messages.put(_Message("wake"))

    # Inside: one thread only

    def _start_ready_items(self) -> None:
        if self._stop.is_set() or self._paused.is_set():
            return
        capacity, computing = self._capacity, self._computing.values()
        ready = [self._waiting[number] for number in self._ready if number in self._waiting]
        ready.sort(key=lambda item: (not self._runs_alone(item), self._urgency[id(item)]))
        contenders = len(ready) + len(computing)
        for item in ready:
            if capacity.is_full(computing):
                break
            if self._running and self._disk is not None and not self._disk.fits(item):
                continue
            place = capacity.find(item, computing, alone=self._runs_alone(item), contenders=contenders)
            if place is not None:
                del self._waiting[id(item)]
                self._start(item, place)

    def _waits(self) -> bool:
        """Whether items may still start although none runs."""
        if self._stop.is_set() or not self._waiting:
            return False
        return self._paused.is_set() or (self._capacity.grows and any(key in self._waiting for key in self._ready))

    def _runs_alone(self, item: PlannedItem) -> bool:
        return item.task.estimate.alone or id(item) in self._alone

    def _start(self, item: PlannedItem, place: Place) -> None:
        thread = threading.Thread(target=self._worker, args=(item, place), name=item.name, daemon=True)
        self._ended.pop(id(item), None)
        self._running[id(item)] = thread
        self._computing[id(item)] = Computing(item, place, self._runs_alone(item))
        if self._disk is not None:
            self._disk.started(item)
        thread.start()

    def _worker(self, item: PlannedItem, place: Place) -> None:
        error = None
        try:
            self._run(item, place, lambda: self._messages.put(_Message("computed", item)))
        except BaseException as raised:  # passed to the caller, which decides
            error = raised
        self._ended[id(item)] = (item, error)
        self._messages.put(_Message("ended", item, error))

    def _take(self, message: _Message) -> None:
        item = message.item
        if message.what == "retry":
            self._retry()
        elif item is None:
            pass
        elif message.what == "cancel":
            if self._waiting.pop(id(item), None) is not None:
                self._skip(item, None)
                self._skip_dependents(item)
        elif id(item) in self._running:  # else its message was lost, found, and arrived after all
            self._computing.pop(id(item), None)
            if message.what == "ended":
                self._end(item, message.error)

    def _end(self, item: PlannedItem, error: BaseException | None) -> None:
        self._running.pop(id(item)).join()
        if self._disk is not None:
            self._disk.ended(item) if error is None else self._disk.failed(item)
        if error is None:
            self._finish(item)
            self._outcome.done.append(item)
        elif isinstance(error, TryAgain):
            if isinstance(error, TryAlone):
                self._alone.add(id(item))
            self._waiting[id(item)] = item
            self._on_unblocked(item)
        else:
            self._outcome.failed.append((item, error))
            self._skip_dependents(item)

    def _finish(self, item: PlannedItem) -> None:
        self._ready.discard(id(item))
        for number in self._leads_to.get(id(item), ()):
            self._missing[number] -= 1
            if not self._missing[number]:
                self._ready.add(number)

    def _skip_dependents(self, lost: PlannedItem) -> None:
        """Skip everything that depends on `lost`, directly or not."""
        for number in self._leads_to.get(id(lost), ()):
            item = self._waiting.pop(number, None)
            if item is not None:
                self._skip(item, lost)

    def _skip(self, item: PlannedItem, cause: PlannedItem | None) -> None:
        self._outcome.skipped.append((item, cause))
        self._on_blocked(item, cause)

    def _retry(self) -> None:
        again = [item for item, _ in self._outcome.failed] + [item for item, _ in self._outcome.skipped]
        self._outcome.failed.clear()
        self._outcome.skipped.clear()
        for item in again:
            self._waiting[id(item)] = item
            self._on_unblocked(item)
