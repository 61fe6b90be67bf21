"""`ResourceSampling`: a run's memory, CPU and GPU once a second, and its stalled items.

The memory of each stage goes into `metrics.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from qairt.engine.observers import StageObserver
from qairt.engine.record import events as ev
from qairt.profiling.disk import DiskWatch
from qairt.profiling.resources import ResourceSampler, Sample
from qairt.profiling.stage_memory import StageMemory
from qairt.profiling.stall_detector import STALL_SECONDS, StallDetector


class ResourceSampling(StageObserver):
    """Emits `ResourceSample` and `ItemQuiet` from its own thread while a run goes on.

    A run that raises emits no `RunFinished`: call `close` in any case.

    Args:
        emit: emits an event; it may block until `on_event` returns.
        interval: seconds between samples.
        stall_seconds: see `StallDetector`.
    """

    def __init__(
        self, emit: Callable[[ev.Event], None], interval: float = 1.0, stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._emit = emit
        self._interval = interval
        self._stalls = StallDetector(stall_seconds)
        self._sampler: ResourceSampler | None = None
        self._memory = StageMemory()
        self._disk: DiskWatch | None = None

    def on_event(self, event: ev.Event) -> None:
        """Follow the run. Never waits for the thread, which may be waiting for the caller."""
        self._stalls.on_event(event)
        if isinstance(event, (ev.RunStarted, ev.RunFinished)) and self._sampler is not None:
            self._sampler.stop()
            self._sampler = None
        if isinstance(event, ev.RunStarted):
            self._memory.reset()
            self._disk = DiskWatch(Path(event.cache_dir), limited=event.disk > 0)
            self._sampler = sampler = ResourceSampler(self._interval, lambda found: self._emit_sample(sampler, found))
            sampler.start()
        elif isinstance(event, ev.StageStarted) and self._sampler is not None:
            self._memory.begin(event.stage, self._sampler.sample())
        elif isinstance(event, ev.StageFinished) and self._sampler is not None:
            self._memory.end(event.stage, self._sampler.sample())

    def get_report(self) -> dict[str, object]:
        """Memory of the stages of this run in MB; see `StageMemory.metrics`."""
        return {"metrics": self._memory.metrics()}

    def close(self) -> None:
        """Tell the thread to end; it finishes the event it is emitting."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.stop()

    def _emit_sample(self, sampler: ResourceSampler, found: Sample) -> None:
        if sampler is not self._sampler:
            return
        self._memory.add(found)
        disk, free = self._disk.look() if self._disk is not None else (None, None)
        with suppress(OSError):  # a full disk: the run reports it itself
            self._emit(
                ev.ResourceSample(
                    ram=found.ram,
                    cpu_percent=round(found.cpu_percent, 1),
                    gpu_memory=found.gpu_memory,
                    gpu_memory_total=found.gpu_memory_total,
                    gpu_percent=found.gpu_percent,
                    machine_ram=found.machine_ram,
                    machine_cpu_percent=round(found.machine_cpu_percent, 1),
                    disk=disk,
                    disk_free=free,
                )
            )
            for event in self._stalls.check(time.monotonic(), sampler.processes):
                if sampler is self._sampler:
                    self._emit(event)
