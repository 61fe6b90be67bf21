"""Items that run but show no sign of life: no progress, nothing in the log, no work for a CPU."""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from qairt.engine.record import events as ev
from qairt.profiling.process_tree import Process, below

QUIET_SECONDS = 30.0
"""At least so long without a sign of life is quiet."""
_GAPS = 5
"""So many times the gap that is usual for the item is quiet, where that is more."""
_IDLE = 0.02
"""Share of one core below which processes only wait."""
_STEP = 10.0
"""Between two looks counts at most so long: the machine may have slept."""
_GAPS_KEPT = 100


@dataclass
class _Item:
    """A running item."""

    stage: str
    label: str
    log: str
    moved: bool = False
    """It reported progress since the last look."""
    silent: float = 0.0
    """Seconds without a sign of life."""
    told: float = 0.0
    """How many of them were told."""
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_GAPS_KEPT))
    """Seconds between its signs of life."""
    size: int = 0
    cpu: float = 0.0


class QuietWatch:
    """Tells which running items are quiet; looked at about every second.

    Args:
        least: seconds without a sign of life that are quiet.
    """

    def __init__(self, least: float = QUIET_SECONDS) -> None:
        self._least = least
        self._items: dict[tuple[str, str], _Item] = {}
        self._looked: float | None = None
        self._lock = threading.Lock()

    def on_event(self, event: ev.Event) -> None:
        """Learn which items run, and which of them report progress."""
        with self._lock:
            match event:
                case ev.ItemStarted():
                    item = _Item(event.stage, event.label, os.path.realpath(event.log), moved=True)
                    self._items[event.stage, event.label] = item
                case ev.ItemProgress():
                    running = self._items.get((event.stage, event.label))
                    if running is not None:
                        running.moved = True
                case ev.ItemFinished() | ev.ItemFailedEvent() | ev.ItemSkipped() | ev.ItemWaiting() | ev.CacheHit():
                    self._items.pop((event.stage, event.label), None)
                case ev.RunStarted() | ev.RunFinished():
                    self._items.clear()

    def look(self, now: float, processes: dict[int, Process]) -> list[ev.ItemQuiet]:
        """What is to be told at `now` (seconds of any clock that is not set back): items that became quiet, were quiet
        for twice as long as was told, or are heard again (0 seconds).

        Args:
            processes: the engine's and all below it.
        """
        with self._lock:
            step = min(now - self._looked, _STEP) if self._looked is not None else 0.0
            self._looked = now
            if not self._items:
                return []
            writers: dict[str, list[int]] = {}
            for process in processes.values():
                writers.setdefault(_log_of(process), []).append(process.pid)
            return [news for item in self._items.values() if (news := self._judge(item, step, writers, processes))]

    def _judge(
        self, item: _Item, step: float, writers: dict[str, list[int]], processes: dict[int, Process]
    ) -> ev.ItemQuiet | None:
        if not _moved(item, step, writers, processes):
            item.silent += step
            quiet = max(self._least, _GAPS * median(item.gaps)) if item.gaps else self._least
            if item.silent < max(quiet, 2 * item.told):
                return None
            item.told = item.silent
            return ev.ItemQuiet(stage=item.stage, label=item.label, seconds=round(item.silent, 1))
        item.gaps.append(item.silent + step)
        item.silent, told, item.told = 0.0, item.told, 0.0
        return ev.ItemQuiet(stage=item.stage, label=item.label, seconds=0.0) if told else None


def _moved(item: _Item, step: float, writers: dict[str, list[int]], processes: dict[int, Process]) -> bool:
    """Whether an item showed a sign of life since the last look."""
    try:
        size = os.stat(item.log).st_size
    except OSError:
        size = 0
    # A worker writes to its item's log; an item in the engine's own process cannot be told apart from it.
    own = below(processes, writers[item.log]) if item.log in writers else processes.values()
    cpu = sum(process.cpu_seconds for process in own)
    moved = item.moved or size != item.size or abs(cpu - item.cpu) > _IDLE * step
    item.moved, item.size, item.cpu = False, size, cpu
    return moved


def _log_of(process: Process) -> str:
    """Where a process's standard output goes; empty where that cannot be told."""
    try:
        return os.readlink(f"/proc/{process.pid}/fd/1")
    except OSError:
        return ""
