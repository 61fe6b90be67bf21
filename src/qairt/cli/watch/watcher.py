"""What watches a run: the JSON stream, one line for each event, or a live region on a terminal."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from qairt.cli.console import ReaderLeft
from qairt.cli.watch.shares import WallShares
from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState


class Watcher:
    """Base: folds events into `state`, and says nothing. `event` is called from the engine's threads, one at a time."""

    def __init__(self) -> None:
        self.state = RunState()
        self.shares = WallShares()
        self.jobs = 1
        self.lock = threading.Lock()
        self._deaf = False

    def event(self, event: ev.Event) -> None:
        with self.lock:
            self.state.apply(event)
            self.shares.apply(event)
            if isinstance(event, ev.RunStarted):
                self.jobs = event.jobs
        self._safely(event)

    def show(self, event: ev.Event) -> None:
        """Show one event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take down what was put up."""

    def _safely(self, event: ev.Event) -> None:
        """A reader that went away (`qairt run | head`) does not end the run: its work is kept all the same."""
        if self._deaf:
            return
        try:
            self.show(event)
        except (ReaderLeft, OSError):
            self._deaf = True


def clock(moment: float) -> str:
    """`08:05:03`, in local time."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
