"""Memory by stage, from samples of a process tree that concurrent stages share."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from qairt.profiling.resources import Sample

MB = 2**20


@dataclass
class _StageSamples:
    """A stage that has started."""

    entry: Sample
    last: Sample
    peak_ram: int
    peak_gpu: int
    is_running: bool = True

    def add(self, found: Sample) -> None:
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
    """Memory of the process tree at the start of each stage, at its peak, and at its end."""

    def __init__(self) -> None:
        self._stages: dict[str, _StageSamples] = {}
        self._lock = threading.Lock()

    def begin(self, stage: str, found: Sample) -> None:
        """Start a stage with its first sample."""
        with self._lock:
            self._stages[stage] = _StageSamples(found, found, found.ram, found.gpu_memory or 0)

    def add(self, found: Sample) -> None:
        """Count a sample for every running stage."""
        with self._lock:
            for samples in self._stages.values():
                if samples.is_running:
                    samples.add(found)

    def end(self, stage: str, found: Sample) -> None:
        """End a stage with its last sample; a stage that was not started is ignored."""
        with self._lock:
            samples = self._stages.get(stage)
            if samples is not None and samples.is_running:
                samples.add(found)
                samples.is_running = False

    def reset(self) -> None:
        """Forget all stages."""
        with self._lock:
            self._stages.clear()

    def metrics(self) -> dict[str, dict[str, float]]:
        """In MB by stage; for running stages so far. GPU metrics are 0.0 when no GPU is used.

        `ram_pss_mb` and `gpu_memory_allocated_mb` are growth from start to end; negative when memory was released.
        """
        with self._lock:
            return {name: samples.metrics() for name, samples in self._stages.items()}
