"""Memory by stage, of looks at a process tree that many stages share."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from qairt.profiling.resources import Sample

MB = 2**20


@dataclass
class _Watched:
    """A stage that has begun."""

    entry: Sample
    last: Sample
    peak_ram: int
    peak_gpu: int
    open: bool = True

    def note(self, found: Sample) -> None:
        self.last = found
        self.peak_ram = max(self.peak_ram, found.ram)
        self.peak_gpu = max(self.peak_gpu, found.gpu_memory or 0)

    def metrics(self) -> dict[str, float]:
        gpu = (self.last.gpu_memory or 0) - (self.entry.gpu_memory or 0)
        return {
            "ram_pss_entry_mb": round(self.entry.ram / MB, 1),
            "ram_pss_mb": round((self.last.ram - self.entry.ram) / MB, 1),
            "ram_pss_peak_mb": round(self.peak_ram / MB, 1),
            "gpu_memory_allocated_mb": round(gpu / MB, 1),
            "gpu_memory_peak_mb": round(self.peak_gpu / MB, 1),
        }


class StageMemory:
    """What the process tree held when each stage began, at its peak inside, and when it ended."""

    def __init__(self) -> None:
        self._stages: dict[str, _Watched] = {}
        self._lock = threading.Lock()

    def begin(self, stage: str, found: Sample) -> None:
        """Watch a stage from this look on."""
        with self._lock:
            self._stages[stage] = _Watched(found, found, found.ram, found.gpu_memory or 0)

    def note(self, found: Sample) -> None:
        """A look counts for every stage that is open."""
        with self._lock:
            for watched in self._stages.values():
                if watched.open:
                    watched.note(found)

    def end(self, stage: str, found: Sample) -> None:
        """The last look at a stage; one that was not begun is passed over."""
        with self._lock:
            watched = self._stages.get(stage)
            if watched is not None and watched.open:
                watched.note(found)
                watched.open = False

    def reset(self) -> None:
        """Forget all stages."""
        with self._lock:
            self._stages.clear()

    def metrics(self) -> dict[str, dict[str, float]]:
        """In MB by stage, of those that go on what is known so far. GPU metrics are 0.0 where no GPU is used.

        `ram_pss_mb` and `gpu_memory_allocated_mb` are growth from entry to end; negative when memory was given back.
        """
        with self._lock:
            return {name: watched.metrics() for name, watched in self._stages.items()}
