"""The event stream of a pipeline: every event is numbered, recorded in the run's file and passed to all listeners."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.record.events import Event, LogLine, RunFinished
from qairt.files import append_line

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.engine.observers import StageObserver

EventListener = Callable[[Event], None]


class EventStream:
    """Emits events to listeners and observers, in order and one at a time, from any thread."""

    def __init__(self) -> None:
        self._listeners: list[EventListener] = []
        self._observers: list[StageObserver] = []
        self._lock = threading.Lock()
        self._file: Path | None = None
        self._seq = 0
        self._over = False
        """The run's last event was emitted."""

    @property
    def observers(self) -> Sequence[StageObserver]:
        return tuple(self._observers)

    def add_observer(self, observer: StageObserver) -> None:
        if any(known is observer for known in self._observers):
            raise ValueError(f"this {type(observer).__name__} was added before: each hook would be called twice")
        self._observers.append(observer)

    def remove_observer(self, observer: StageObserver) -> None:
        with self._lock:
            self._observers.remove(observer)

    def add_listener(self, listener: EventListener) -> None:
        self._listeners.append(listener)

    def remove_listener(self, listener: EventListener) -> None:
        with self._lock:
            self._listeners.remove(listener)

    @contextmanager
    def listening(self, *listeners: EventListener) -> Iterator[None]:
        """Call these listeners, in this order, while inside."""
        for listener in listeners:
            self.add_listener(listener)
        try:
            yield
        finally:
            for listener in listeners:
                self.remove_listener(listener)

    @contextmanager
    def recording(self, file: Path) -> Iterator[None]:
        """Number events from 1 and append them to `file` while inside."""
        self._file, self._seq, self._over = file, 0, False
        try:
            yield
        finally:
            self._file = None

    def emit(self, event: Event) -> None:
        """Number an event, record it and pass it on. After the run's last event, others are dropped."""
        with self._lock:
            if self._over:  # from a thread that does not know yet; readers expect the end in the last line
                return
            self._over = isinstance(event, RunFinished)
            self._seq += 1
            event = event.model_copy(update={"seq": self._seq, "mono": time.monotonic()})
            warning = self._record(event)
            for each in (event, warning) if warning is not None else (event,):
                for listener in self._listeners:
                    listener(each)
                for observer in self._observers:
                    observer.on_event(each)

    def _record(self, event: Event) -> LogLine | None:
        """Append an event to the run's file; a warning if that fails, which ends the recording and not the run."""
        if self._file is None:
            return None
        try:
            append_line(self._file, event.model_dump())
        except OSError as error:
            message = f"the run is no longer recorded: {self._file}: {error.strerror or error}"
            self._file = None
            return LogLine(level="warning", message=message)
        return None

    def measurements(self) -> dict[str, dict[str, JsonValue]]:
        """What the observers have measured so far, by stage."""
        found: dict[str, dict[str, JsonValue]] = {}
        for observer in self._observers:
            for stage, metrics in observer.get_report().get("metrics", {}).items():
                found.setdefault(stage, {}).update(metrics)
        return found
