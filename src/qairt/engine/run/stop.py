"""Stopping items: a single one on request, or all of them with the run."""

from __future__ import annotations

import threading


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """The item was stopped while it ran."""


class TryAgain(Exception):  # noqa: N818 - it is not an error
    """The item is made after all, and needs other things than was expected: it waits for them."""


class TryAlone(TryAgain):
    """Memory ran out for the item: it is made once more, with nothing beside it."""


class Stop:
    """Whether an item is to stop: it alone, or the whole run."""

    def __init__(self, run: threading.Event) -> None:
        self._run = run
        self._own = threading.Event()

    def cancel(self) -> None:
        self._own.set()

    def is_set(self) -> bool:
        return self._own.is_set() or self._run.is_set()


class Cancellations:
    """The items of a run that were cancelled on request. Items are known by name."""

    def __init__(self, run: threading.Event) -> None:
        self._run = run
        self._cancelled: set[str] = set()
        self._running: dict[str, Stop] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._cancelled

    def __bool__(self) -> bool:
        return bool(self._cancelled)

    def started(self, name: str) -> Stop:
        """The item starts; its `Stop` is set if it was cancelled just before."""
        with self._lock:
            stop = self._running[name] = Stop(self._run)
            if name in self._cancelled:
                stop.cancel()
            return stop

    def ended(self, name: str, *, finished: bool) -> None:
        """The item ended; if it finished after all, it was not cancelled."""
        with self._lock:
            self._running.pop(name, None)
            if finished:
                self._cancelled.discard(name)

    def cancel(self, name: str) -> bool:
        """Cancel an item; returns whether it is running."""
        with self._lock:
            self._cancelled.add(name)
            stop = self._running.get(name)
        if stop is None:
            return False
        stop.cancel()
        return True

    def withdraw(self, name: str) -> None:
        """The item will run after all."""
        with self._lock:
            self._cancelled.discard(name)
