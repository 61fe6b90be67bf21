"""What a process tree uses now: RAM as its proportional share, CPU, and the GPU where there is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qairt.profiling.gpu import GpuMeter
from qairt.profiling.process_tree import Process, ProcessTree, SharedMemory


@dataclass(frozen=True)
class Sample:
    """One look at a process tree. GPU fields are None where there is no GPU, or it does not tell."""

    ram: int
    """Bytes: the sum of PSS over the tree (RSS where the system gives no PSS)."""
    cpu_percent: float
    """Of one core, over the time since the last look."""
    gpu_memory: int | None
    """Bytes that the tree holds on all GPUs."""
    gpu_percent: float | None
    """The busiest GPU."""
    gpu_memory_total: int | None = None
    """Bytes that the GPUs have."""


class TreeMeter:
    """Looks at a process and its children again and again."""

    def __init__(self, pid: int | None = None) -> None:
        self.processes: dict[int, Process] = {}
        """The tree as it was at the last look."""
        self._tree = ProcessTree(pid)
        self._memory = SharedMemory()
        self._gpu = GpuMeter()
        self._looked: float | None = None
        self._lock = threading.Lock()

    def look(self) -> Sample:
        """What the tree uses now; may be called from several threads."""
        with self._lock:
            return self._look()

    def _look(self) -> Sample:
        before, now = self.processes, time.monotonic()
        processes = self.processes = self._tree.look()
        spent = 0.0
        if self._looked is not None and now > self._looked:
            spent = sum(_since(before.get(pid), process) for pid, process in processes.items()) / (now - self._looked)
        self._looked = now
        gpu = self._gpu.look(processes.keys())
        return Sample(
            ram=self._memory.of(processes.values()),
            cpu_percent=100 * spent,
            gpu_memory=gpu.memory,
            gpu_memory_total=gpu.memory_total,
            gpu_percent=gpu.percent,
        )


def _since(before: Process | None, process: Process) -> float:
    """CPU seconds since an earlier look; all of them for a process that was started since."""
    known = before is not None and before.began == process.began
    return process.cpu_seconds - (before.cpu_seconds if before is not None and known else 0.0)


def sample(pid: int | None = None) -> Sample:
    """One look at the tree of `pid`, this process when None."""
    return TreeMeter(pid).look()


class Sampler:
    """Looks every `interval` seconds in a thread of its own and keeps the peaks.

    Use as a context manager, once.

    Args:
        on_sample: gets each look, in that thread.
    """

    def __init__(self, interval: float = 0.5, on_sample: Callable[[Sample], None] | None = None) -> None:
        self.peak_ram = 0
        """Bytes."""
        self.peak_gpu_memory: int | None = None
        self._interval = interval
        self._on_sample = on_sample
        self._meter = TreeMeter()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="resource sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
        self._thread.join()

    def start(self) -> None:
        """Let the thread begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, without waiting for that."""
        self._stop.set()

    @property
    def processes(self) -> dict[int, Process]:
        """The tree as it was at the last look."""
        return self._meter.processes

    def look(self) -> Sample:
        """One look out of turn, which counts for the peaks too."""
        found = self._meter.look()
        self._take(found)
        return found

    def take_peaks(self) -> tuple[int, int | None]:
        """The peaks since the last call: RAM and GPU memory in bytes."""
        self.look()
        with self._lock:
            peaks = self.peak_ram, self.peak_gpu_memory
            self.peak_ram, self.peak_gpu_memory = 0, None
        return peaks

    def _loop(self) -> None:
        while not self._stop.wait(self._interval):
            found = self.look()
            if self._on_sample is not None:
                self._on_sample(found)

    def _take(self, found: Sample) -> None:
        with self._lock:
            self.peak_ram = max(self.peak_ram, found.ram)
            if found.gpu_memory is not None:
                self.peak_gpu_memory = max(self.peak_gpu_memory or 0, found.gpu_memory)
