"""A run as lines of text, for logs and pipes: one for each event, and never long silent."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from qairt.amounts import about
from qairt.cli.console import ReaderLeft, say
from qairt.cli.watch.watcher import Watcher, clock
from qairt.engine.record import events as ev
from qairt.engine.record import sentences as messages
from qairt.engine.record.eta import SmoothEta, fraction, wording
from qairt.engine.record.state import BUSY

QUIET_SECONDS = 10.0
"""After so long without a line, one says what is running."""


class Lines(Watcher):
    """Prints a line with the time for each event.

    Args:
        stop: says that the run was interrupted.
    """

    def __init__(self, stop: threading.Event, quiet_seconds: float = QUIET_SECONDS) -> None:
        super().__init__()
        self._stop = stop
        self._quiet_seconds = quiet_seconds
        self._began = self._last = time.time()
        self._eta = SmoothEta()
        self._said_stopping = False
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heart.join()

    def show(self, event: ev.Event) -> None:
        match event:
            case ev.RunStarted():
                for line in messages.opening(event):
                    self._line(event.time, line)
            case ev.ItemStarted():
                self._line(event.time, messages.started(event))
            case ev.ItemFinished():
                self._line(event.time, messages.finished(event))
            case ev.ItemFailedEvent():
                self._line(event.time, messages.failed(event))
            case ev.OutputWritten():
                for line in messages.output(event):
                    self._line(event.time, line)
            case ev.LogLine():
                self._line(event.time, f"{event.level}: {event.message}")

    def _line(self, moment: float, text: str) -> None:
        with self._writing:
            self._last = time.time()
            say(f"{clock(moment)} {text}")

    def _beat(self) -> None:
        while not self._over.wait(min(0.2, self._quiet_seconds / 4)):
            try:
                self._tell_if_quiet(time.time())
            except ReaderLeft:
                return

    def _tell_if_quiet(self, now: float) -> None:
        if self._stop.is_set() and not self._said_stopping:
            self._said_stopping = True
            self._line(now, "interrupted: ending what runs; finished items are kept")
        elif now - self._last >= self._quiet_seconds:
            self._line(now, self._what_happens(now))

    def _what_happens(self, now: float) -> str:
        with self.lock:
            busy = [item for item in self.state.items.values() if item.status in BUSY]
            if busy:
                left = wording(self._eta.at(self.state, now))
                items = ", ".join(messages.running(item, now) for item in busy)
                return f"{fraction(self.state, now):.0%} done, {left}; running: {items}"
        doing = "finishing" if self.state.items else "planning: reading what the recipe names"
        return f"{doing} ({about(now - self._began)})"
