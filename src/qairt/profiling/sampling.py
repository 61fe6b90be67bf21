"""`ResourceSampling`: while a run goes, its memory, CPU and GPU once a second, and items that show no sign of life.

What it saw of each stage goes into `metrics.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qairt.engine.observers import StageObserver
from qairt.engine.record import events as ev
from qairt.profiling.quiet import QUIET_SECONDS, QuietWatch
from qairt.profiling.resources import Sample, Sampler
from qairt.profiling.stage_memory import StageMemory


class ResourceSampling(StageObserver):
    """Says `ResourceSample` and `ItemQuiet` between a run's start and its end, from a thread of its own.

    A run that raises says no last word: call `close` when it is over, whichever way.

    Args:
        emit: says an event; must not be called back into while it waits, see `close`.
        interval: seconds between two looks.
        quiet_seconds: see `QuietWatch`.
    """

    def __init__(
        self, emit: Callable[[ev.Event], None], interval: float = 1.0, quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        self._emit = emit
        self._interval = interval
        self._quiet = QuietWatch(quiet_seconds)
        self._sampler: Sampler | None = None
        self._memory = StageMemory()

    def on_event(self, event: ev.Event) -> None:
        """Follow the run. Never waits for the thread, which may be waiting for whoever calls this."""
        self._quiet.on_event(event)
        if isinstance(event, (ev.RunStarted, ev.RunFinished)) and self._sampler is not None:
            self._sampler.stop()
            self._sampler = None
        if isinstance(event, ev.RunStarted):
            self._memory.reset()
            self._sampler = sampler = Sampler(self._interval, lambda found: self._tell(sampler, found))
            sampler.start()
        elif isinstance(event, ev.StageStarted) and self._sampler is not None:
            self._memory.begin(event.stage, self._sampler.look())
        elif isinstance(event, ev.StageFinished) and self._sampler is not None:
            self._memory.end(event.stage, self._sampler.look())

    def get_report(self) -> dict[str, Any]:
        """Memory of the stages of this run in MB; see `StageMemory.metrics`."""
        return {"metrics": self._memory.metrics()}

    def close(self) -> None:
        """Let the thread end; it says nothing more but what it was saying."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.stop()

    def _tell(self, sampler: Sampler, found: Sample) -> None:
        if sampler is not self._sampler:
            return
        self._memory.note(found)
        with suppress(OSError):  # a full disk: the run says so itself
            self._emit(
                ev.ResourceSample(
                    ram=found.ram,
                    cpu_percent=round(found.cpu_percent, 1),
                    gpu_memory=found.gpu_memory,
                    gpu_memory_total=found.gpu_memory_total,
                    gpu_percent=found.gpu_percent,
                )
            )
            for event in self._quiet.look(time.monotonic(), sampler.processes):
                if sampler is self._sampler:
                    self._emit(event)
