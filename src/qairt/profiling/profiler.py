"""`ResourceProfiler`: named snapshot pairs of time and memory, and the report made of them."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from qairt.profiling.resources import Sampler, sample

MB = 2**20


@dataclass(frozen=True)
class MemoryEvent:
    """What one named piece of work took."""

    name: str
    started: float
    """Seconds since the epoch."""
    seconds: float
    ram_pss_entry_mb: float
    """RAM of the process tree when it began."""
    ram_pss_mb: float
    """Growth of RAM from its beginning to its end; negative when it gave memory back."""
    ram_pss_peak_mb: float
    """The true peak inside, sampled, not the larger of the two ends."""
    gpu_memory_allocated_mb: float
    """Growth on the GPU; 0.0 when CUDA is unavailable."""
    gpu_memory_peak_mb: float


@dataclass
class Report:
    """All events in the order in which they ended."""

    events: list[MemoryEvent] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"events": [asdict(event) for event in self.events]}

    def as_table(self) -> str:
        """A plain table, one line an event."""
        lines = [f"{'stage':<28}{'seconds':>10}{'RAM at start':>15}{'growth':>12}{'peak':>12}"]
        for event in self.events:
            lines.append(
                f"{event.name:<28}{event.seconds:>10.1f}{event.ram_pss_entry_mb:>12.0f} MB"
                f"{event.ram_pss_mb:>9.0f} MB{event.ram_pss_peak_mb:>9.0f} MB"
            )
        return "\n".join(lines)


@dataclass
class _Open:
    started: float
    clock: float
    ram: int
    gpu: int
    sampler: Sampler


class ResourceProfiler:
    """Measures named pieces of work; several may be open at once.

    Args:
        interval: seconds between looks at memory inside a piece of work.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._open: dict[str, _Open] = {}
        self._report = Report()
        self._lock = threading.Lock()

    def start(self, name: str) -> None:
        """Take the snapshot before `name`; a second start of an open name begins it anew."""
        self._close(name)
        found = sample()
        sampler = Sampler(self._interval)
        sampler.__enter__()
        with self._lock:
            self._open[name] = _Open(time.time(), time.perf_counter(), found.ram, found.gpu_memory or 0, sampler)

    def stop(self, name: str) -> MemoryEvent:
        """Take the snapshot after `name`.

        Raises:
            KeyError: it was not started.
        """
        with self._lock:
            before = self._open.pop(name)
        seconds = time.perf_counter() - before.clock
        peak_ram, peak_gpu = before.sampler.take_peaks()
        before.sampler.__exit__()
        after = sample()
        event = MemoryEvent(
            name=name,
            started=before.started,
            seconds=seconds,
            ram_pss_entry_mb=before.ram / MB,
            ram_pss_mb=(after.ram - before.ram) / MB,
            ram_pss_peak_mb=max(peak_ram, before.ram, after.ram) / MB,
            gpu_memory_allocated_mb=((after.gpu_memory or 0) - before.gpu) / MB,
            gpu_memory_peak_mb=max(peak_gpu or 0, before.gpu) / MB,
        )
        with self._lock:
            self._report.events.append(event)
        return event

    def get_report(self) -> Report:
        """Everything measured so far."""
        with self._lock:
            return Report(list(self._report.events))

    def reset(self) -> None:
        """Forget everything, open work too."""
        for name in list(self._open):
            self._close(name)
        self._report = Report()

    def _close(self, name: str) -> None:
        with self._lock:
            left = self._open.pop(name, None)
        if left is not None:
            left.sampler.__exit__()
