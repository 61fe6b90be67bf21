"""Waiting no longer than stated, whatever a store, a driver or a file system that hangs does: the work goes on in a
thread of its own, which is left behind, and which does not keep the process alive."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from qairt.engine.shared_store.objects import Unavailable

ResultT = TypeVar("ResultT")
_POLL = 0.1  # seconds between two looks at whether to go on waiting


@dataclass(frozen=True)
class Limits:
    """How long a store may take; seconds."""

    answer: float = 10.0
    """For one small object."""
    listing: float = 30.0
    """For a list of objects."""
    silent: float = 20.0
    """Without a byte of a large object."""
    fetch: float = 60.0
    """For an item at least; then a fetch is given up that is on the way to take three times as long as building."""
    judged: float = 10.0
    """After so much of a fetch, its speed is known."""
    leave: float = 10.0
    """That the end of a run waits for uploads."""
    away: float = 60.0
    """Until a store that failed is tried again; doubled each time."""


PATIENT = Limits()
"""As people wait."""


class Pending(Generic[ResultT]):
    """Work in a thread of its own."""

    def __init__(self, work: Callable[[], ResultT]) -> None:
        self._result: ResultT
        self._error: BaseException | None = None
        self._over = threading.Event()

        def run() -> None:
            try:
                self._result = work()
            except BaseException as error:  # raised where it is waited for
                self._error = error
            self._over.set()

        threading.Thread(target=run, name="shared store", daemon=True).start()

    def ended(self, seconds: float) -> bool:
        """Whether it ended, after at most so many seconds."""
        return self._over.wait(seconds)

    def result(self) -> ResultT:
        """What it returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result


def within(seconds: float, work: Callable[[], ResultT]) -> ResultT:
    """The result of `work`.

    Raises:
        Unavailable: it took longer.
    """
    pending = Pending(work)
    if not pending.ended(seconds):
        raise Unavailable(f"no answer within {seconds:g} s")
    return pending.result()


def watched(work: Callable[[], ResultT], check: Callable[[], None]) -> ResultT:
    """The result of `work`; `check` is called meanwhile, and what it raises ends the waiting."""
    pending = Pending(work)
    while not pending.ended(_POLL):
        check()
    return pending.result()


def all_within(
    seconds: float, works: Sequence[Callable[[], ResultT]], threads: int
) -> list[ResultT | Unavailable | None]:
    """The results of `works` in their order, some at a time; None for what was not done. After the first that is
    `Unavailable`, no further one is started.

    Args:
        seconds: without any result, after which nothing is waited for any more.
    """
    found: list[ResultT | Unavailable | None] = [None] * len(works)
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(works)):
        todo.put(number)
    give_up = threading.Event()
    latest = time.monotonic()

    def some() -> None:
        nonlocal latest
        while not give_up.is_set():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                found[number] = works[number]()
            except Unavailable as error:
                found[number] = error
                give_up.set()
            latest = time.monotonic()

    for each in [Pending(some) for _ in range(min(threads, len(works)))]:
        while not (ended := each.ended(_POLL)) and time.monotonic() - latest < seconds:
            pass
        if ended:
            each.result()
    give_up.set()
    return list(found)
