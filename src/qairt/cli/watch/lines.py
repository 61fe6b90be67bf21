"""A run as lines of text, for logs and pipes: one per event, and one every ten seconds of silence."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from qairt.amounts import about
from qairt.cli.console import ReaderGone, emit
from qairt.cli.watch.watcher import Watcher, clock
from qairt.engine.record import events as ev
from qairt.engine.record import sentences as messages
from qairt.engine.record.eta import SmoothEta, in_words
from qairt.engine.record.item_state import BUSY
from qairt.engine.record.progress import progress_of
from qairt.engine.record.state import RunState

QUIET_SECONDS = 10.0
"""After this long without a line, the running items are listed."""


class EventLines(Watcher):
    """Prints a line with the time for each event.

    Args:
        stop: set when the run is interrupted.
    """

    def __init__(self, stop: threading.Event, quiet_seconds: float = QUIET_SECONDS) -> None:
        super().__init__()
        self._stop = stop
        self._quiet_seconds = quiet_seconds
        self._began = self._last = time.time()
        self._eta = SmoothEta()
        self._stop_printed = False
        self._over = threading.Event()
        self._silence = threading.Thread(target=self._watch_silence, daemon=True)
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self._silence.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._silence.join()

    def show(self, event: ev.Event) -> None:
        match event:
            case ev.RunStarted():
                for line in messages.opening(event):
                    self._print(event.time, line)
            case ev.ItemStarted():
                self._print(event.time, messages.started(event))
            case ev.ItemQuiet() if event.seconds:
                self._print(event.time, messages.quiet(event))
            case ev.ItemFinished():
                self._print(event.time, messages.finished(event))
            case ev.ItemFailedEvent():
                self._print(event.time, messages.failed(event))
            case ev.OutputWritten():
                for line in messages.output(event):
                    self._print(event.time, line)
            case ev.LogLine():
                self._print(event.time, f"{event.level}: {event.message}")

    def _print(self, moment: float, text: str) -> None:
        with self._writing:
            self._last = time.time()
            emit(f"{clock(moment)} {text}")

    def _watch_silence(self) -> None:
        while not self._over.wait(min(0.2, self._quiet_seconds / 4)):
            try:
                self._print_if_quiet(time.time())
            except ReaderGone:
                return

    def _print_if_quiet(self, now: float) -> None:
        if self._stop.is_set() and not self._stop_printed:
            self._stop_printed = True
            self._print(now, "interrupted: stopping running items; finished items are kept")
        elif now - self._last >= self._quiet_seconds:
            self._print(now, self._activity(now))

    def _activity(self, now: float) -> str:
        with self.lock:
            running = [item for item in self.state.items.values() if item.status in BUSY]
            if running:
                left = in_words(self._eta.at(self.state, now))
                items = ", ".join(messages.running(item, now) for item in running)
                return f"{_percent(self.state, now)} done, {left} left; running: {items}"
        doing = "finishing" if self.state.items else "planning: reading the model and the files of the recipe"
        return f"{doing} ({about(now - self._began)})"


def _percent(state: RunState, now: float) -> str:
    return f"{int(100 * progress_of(state, now).certain)}%"
