"""Detects stalled items: running, but without progress, log output or CPU use."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from qairt.engine.record import events as ev
from qairt.profiling.process_tree import Process, below

STALL_SECONDS = 30.0
"""An item is stalled after at least this long without a sign of life."""
_GAPS = 5
"""Or after this many times its usual gap between signs of life, if that is longer."""
_IDLE = 0.02
"""Share of one core below which processes count as idle."""
_SHORTEST = 0.1  # seconds, of a silence that is reported
_STEP = 10.0
"""Longest time counted between two samples: the machine may have been suspended."""
_GAPS_KEPT = 100


@dataclass
class _Item:
    """A running item."""

    stage: str
    label: str
    log: str
    has_progressed: bool = False
    """It reported progress since the last sample."""
    silent: float = 0.0
    """Seconds without a sign of life."""
    reported: float = 0.0
    """How many of them were reported."""
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_GAPS_KEPT))
    """Seconds between its signs of life."""
    log_size: int = 0
    cpu: float = 0.0
    stopped_pid: int = 0
    """Of its process that was found stopped, and reported."""


class StallDetector:
    """Detects which running items are stalled; `check` it about every second.

    Args:
        least: seconds without a sign of life after which an item is stalled.
    """

    def __init__(self, least: float = STALL_SECONDS) -> None:
        self._least = least
        self._items: dict[tuple[str, str], _Item] = {}
        self._checked_at: float | None = None
        self._lock = threading.Lock()

    def on_event(self, event: ev.Event) -> None:
        """Learn which items run, and which of them report progress."""
        with self._lock:
            match event:
                case ev.ItemStarted():
                    item = _Item(event.stage, event.label, os.path.realpath(event.log), has_progressed=True)
                    self._items[event.stage, event.label] = item
                case ev.ItemProgress():
                    running = self._items.get((event.stage, event.label))
                    if running is not None:
                        running.has_progressed = True
                case ev.ItemFinished() | ev.ItemFailedEvent() | ev.ItemSkipped() | ev.ItemWaiting() | ev.CacheHit():
                    self._items.pop((event.stage, event.label), None)
                case ev.RunStarted() | ev.RunFinished():
                    self._items.clear()

    def check(self, now: float, processes: dict[int, Process]) -> list[ev.ItemQuiet]:
        """The events to emit: for items that stalled, are stalled twice as long as last reported, or recovered (0 s).

        Args:
            now: seconds of any monotonic clock.
            processes: the engine's and all below it.
        """
        with self._lock:
            step = min(now - self._checked_at, _STEP) if self._checked_at is not None else 0.0
            self._checked_at = now
            if not self._items:
                return []
            writers: dict[str, list[int]] = {}
            for process in processes.values():
                writers.setdefault(_stdout_of(process), []).append(process.pid)
            return [event for item in self._items.values() if (event := self._judge(item, step, writers, processes))]

    def _judge(
        self, item: _Item, step: float, writers: dict[str, list[int]], processes: dict[int, Process]
    ) -> ev.ItemQuiet | None:
        own = _own(item, writers, processes)
        if not _is_alive(item, step, own):
            item.silent += step
            stopped = next((process.pid for process in own if process.is_stopped), 0)
            if stopped != item.stopped_pid:
                item.stopped_pid, item.reported = stopped, max(item.silent, _SHORTEST)
                return ev.ItemQuiet(
                    stage=item.stage, label=item.label, seconds=round(item.reported, 1), stopped_pid=stopped
                )
            threshold = max(self._least, _GAPS * median(item.gaps)) if item.gaps else self._least
            if item.silent < max(threshold, 2 * item.reported):
                return None
            item.reported = item.silent
            seconds = round(item.silent, 1)
            return ev.ItemQuiet(stage=item.stage, label=item.label, seconds=seconds, stopped_pid=stopped)
        item.gaps.append(item.silent + step)
        item.stopped_pid = 0
        item.silent, was_reported, item.reported = 0.0, item.reported, 0.0
        return ev.ItemQuiet(stage=item.stage, label=item.label, seconds=0.0) if was_reported else None


def _own(item: _Item, writers: dict[str, list[int]], processes: dict[int, Process]) -> list[Process]:
    """The processes of an item: those that write to its log, and all below; all, for one that the engine's own process
    makes."""
    return below(processes, writers[item.log]) if item.log in writers else [*processes.values()]


def _is_alive(item: _Item, step: float, own: list[Process]) -> bool:
    """Whether an item showed a sign of life since the last sample."""
    try:
        log_size = os.stat(item.log).st_size
    except OSError:
        log_size = 0
    cpu = sum(process.cpu_seconds for process in own)
    is_alive = item.has_progressed or log_size != item.log_size or abs(cpu - item.cpu) > _IDLE * step
    item.has_progressed, item.log_size, item.cpu = False, log_size, cpu
    return is_alive


def _stdout_of(process: Process) -> str:
    """The file of a process's standard output; empty when unknown."""
    try:
        return os.readlink(f"/proc/{process.pid}/fd/1")
    except OSError:
        return ""
