"""`ResourceProfiler`: named pairs of snapshots of time and memory, and a report of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from qairt.profiling.resources import ResourceSampler, Sample, sample

MB = 2**20


@dataclass(frozen=True)
class MemoryEvent:
    """Time and memory of one named piece of work."""

    name: str
    started: float
    """Seconds since the epoch."""
    seconds: float
    ram_pss_entry_mb: float
    """RAM of the process tree at its start."""
    ram_pss_mb: float
    """Growth of RAM from start to end; negative when memory was released."""
    ram_pss_peak_mb: float
    """The sampled peak in between, not the larger of both ends."""
    gpu_memory_allocated_mb: float
    """Growth on the GPU; 0.0 when CUDA is unavailable."""
    gpu_memory_peak_mb: float


@dataclass
class ProfilerReport:
    """All events in the order of their ends."""

    events: list[MemoryEvent] = field(default_factory=list)

    def as_dict(self) -> dict[str, list[dict[str, object]]]:
        """Plain data, for JSON."""
        return {"events": [asdict(event) for event in self.events]}

    def as_table(self) -> str:
        """A plain table with one line per event; GPU columns if a GPU was used."""
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
class _Running:
    """A piece of work that has started."""

    started: float
    clock: float
    before: Sample
    peak_ram: int
    peak_gpu: int

    def add(self, sample: Sample) -> None:
        self.peak_ram = max(self.peak_ram, sample.ram)
        self.peak_gpu = max(self.peak_gpu, sample.gpu_memory or 0)


class ResourceProfiler:
    """Measures named pieces of work; several may run at once.

    While one runs, a thread samples the process tree's memory, to catch peaks.

    Args:
        interval: seconds between samples.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._running: dict[str, _Running] = {}
        self._events: list[MemoryEvent] = []
        self._sampler: ResourceSampler | None = None
        self._lock = threading.Lock()

    def start(self, name: str) -> None:
        """Take the snapshot before `name`; starting a running name restarts it."""
        found = sample()
        with self._lock:
            gpu = found.gpu_memory or 0
            self._running[name] = _Running(time.time(), time.perf_counter(), found, found.ram, gpu)
            if self._sampler is None:
                self._sampler = ResourceSampler(self._interval, self._add)
                self._sampler.start()

    def stop(self, name: str) -> MemoryEvent:
        """Take the snapshot after `name`.

        Raises:
            KeyError: it was not started.
        """
        clock = time.perf_counter()
        after = sample()
        with self._lock:
            work = self._running.pop(name)
            work.add(after)
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
        self._stop_sampler_if_idle()
        return event

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure the body; nothing is recorded if it raises."""
        self.start(name)
        try:
            yield
        except BaseException:
            self.abandon(name)
            raise
        self.stop(name)

    def abandon(self, *names: str) -> None:
        """Forget running work that will not end; all of it when no name is given."""
        with self._lock:
            for name in names or tuple(self._running):
                self._running.pop(name, None)
        self._stop_sampler_if_idle()

    def get_report(self) -> ProfilerReport:
        """Everything measured so far."""
        with self._lock:
            return ProfilerReport(list(self._events))

    def reset(self) -> None:
        """Forget everything, running work too."""
        self.abandon()
        with self._lock:
            self._events.clear()

    def _add(self, found: Sample) -> None:
        with self._lock:
            for work in self._running.values():
                work.add(found)

    def _stop_sampler_if_idle(self) -> None:
        """End the thread when nothing runs."""
        with self._lock:
            if self._running or self._sampler is None:
                return
            sampler, self._sampler = self._sampler, None
        sampler.stop()
        sampler.join()  # outside the lock: the thread may be waiting for it
