"""Base of the watchers."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from qairt.cli.console import ReaderGone
from qairt.cli.watch.wall_time_by_stage import WallTimeByStage
from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState


class Watcher:
    """Folds events into `state`, and prints nothing. `event` is called from the engine's threads, one at a time."""

    def __init__(self) -> None:
        self.state = RunState()
        self.wall_time = WallTimeByStage()
        self.lock = threading.Lock()
        self._reader_gone = False

    def event(self, event: ev.Event) -> None:
        with self.lock:
            self.state.apply(event)
            self.wall_time.apply(event)
        self._show_while_read(event)

    def show(self, event: ev.Event) -> None:
        """Show one event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what is on the terminal."""

    def _show_while_read(self, event: ev.Event) -> None:
        """Show an event. When the reader has gone away (`qairt run | head`) the run continues: its work is kept."""
        if self._reader_gone:
            return
        try:
            self.show(event)
        except (ReaderGone, OSError):
            self._reader_gone = True


def clock(moment: float) -> str:
    """`08:05:03`, in local time."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
