"""`ResourceProfiler`: named snapshot pairs of time and memory, and the report made of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from qairt.profiling.resources import Sample, Sampler, sample

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
        """Plain data, for JSON."""
        return {"events": [asdict(event) for event in self.events]}

    def as_table(self) -> str:
        """A plain table, one line an event; GPU columns where a GPU was used."""
        gpu = any(event.gpu_memory_peak_mb for event in self.events)
        rows = [["stage", "seconds", "RAM at start", "growth", "peak", *(["GPU growth", "GPU peak"] if gpu else [])]]
        for event in self.events:
            memory = [event.ram_pss_entry_mb, event.ram_pss_mb, event.ram_pss_peak_mb]
            if gpu:
                memory += [event.gpu_memory_allocated_mb, event.gpu_memory_peak_mb]
            rows.append([event.name, f"{event.seconds:.1f}", *(f"{amount:.0f} MB" for amount in memory)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        )


@dataclass
class _Open:
    """A piece of work that has begun."""

    started: float
    clock: float
    before: Sample
    peak_ram: int
    peak_gpu: int

    def note(self, found: Sample) -> None:
        self.peak_ram = max(self.peak_ram, found.ram)
        self.peak_gpu = max(self.peak_gpu, found.gpu_memory or 0)


class ResourceProfiler:
    """Measures named pieces of work; several may be open at once.

    While one is open, a thread looks at the process tree's memory, so that a peak inside is seen.

    Args:
        interval: seconds between looks.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._open: dict[str, _Open] = {}
        self._events: list[MemoryEvent] = []
        self._sampler: Sampler | None = None
        self._lock = threading.Lock()

    def start(self, name: str) -> None:
        """Take the snapshot before `name`; a second start of an open name begins it anew."""
        found = sample()
        with self._lock:
            gpu = found.gpu_memory or 0
            self._open[name] = _Open(time.time(), time.perf_counter(), found, found.ram, gpu)
            if self._sampler is None:
                self._sampler = Sampler(self._interval, self._note)
                self._sampler.__enter__()

    def stop(self, name: str) -> MemoryEvent:
        """Take the snapshot after `name`.

        Raises:
            KeyError: it was not started.
        """
        clock = time.perf_counter()
        after = sample()
        with self._lock:
            work = self._open.pop(name)
            work.note(after)
            event = MemoryEvent(
                name=name,
                started=work.started,
                seconds=clock - work.clock,
                ram_pss_entry_mb=work.before.ram / MB,
                ram_pss_mb=(after.ram - work.before.ram) / MB,
                ram_pss_peak_mb=work.peak_ram / MB,
                gpu_memory_allocated_mb=((after.gpu_memory or 0) - (work.before.gpu_memory or 0)) / MB,
                gpu_memory_peak_mb=work.peak_gpu / MB,
            )
            self._events.append(event)
        self._rest()
        return event

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure what happens inside; nothing is kept of work that raised."""
        self.start(name)
        try:
            yield
        except BaseException:
            self.abandon(name)
            raise
        self.stop(name)

    def abandon(self, *names: str) -> None:
        """Forget open work that will not end; all of it when no name is given."""
        with self._lock:
            for name in names or tuple(self._open):
                self._open.pop(name, None)
        self._rest()

    def get_report(self) -> Report:
        """Everything measured so far."""
        with self._lock:
            return Report(list(self._events))

    def reset(self) -> None:
        """Forget everything, open work too."""
        self.abandon()
        with self._lock:
            self._events.clear()

    def _note(self, found: Sample) -> None:
        with self._lock:
            for work in self._open.values():
                work.note(found)

    def _rest(self) -> None:
        """End the thread when nothing is open."""
        with self._lock:
            if self._open or self._sampler is None:
                return
            sampler, self._sampler = self._sampler, None
        sampler.__exit__()  # outside the lock: the thread may be about to note a look
