"""What a process tree uses now: RAM as its proportional share, CPU, and the GPU where there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil


@dataclass(frozen=True)
class Sample:
    """One look at a process tree. GPU fields are None where there is no GPU (or no NVML)."""

    ram: int
    """Bytes: the sum of PSS over the tree (RSS where the system gives no PSS)."""
    cpu_percent: float
    """Of one core, over the time since the last look."""
    gpu_memory: int | None
    """Bytes that the tree holds on all GPUs."""
    gpu_percent: float | None
    """The busiest GPU."""


class TreeMeter:
    """Looks at a process and its children again and again."""

    def __init__(self, pid: int | None = None) -> None:
        self._root = psutil.Process(pid)
        self._known: dict[int, psutil.Process] = {}
        self._lock = threading.Lock()

    def look(self) -> Sample:
        """What the tree uses now; may be called from several threads."""
        with self._lock:
            return self._look()

    def _look(self) -> Sample:
        ram, cpu = 0, 0.0
        processes = self._tree()
        for process in processes:
            try:
                ram += _memory(process)
                cpu += process.cpu_percent()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        memory, percent = _gpu({process.pid for process in processes})
        return Sample(ram=ram, cpu_percent=cpu, gpu_memory=memory, gpu_percent=percent)

    def _tree(self) -> list[psutil.Process]:
        """The processes, the same objects as last time: CPU percent is a difference between two looks."""
        try:
            current = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        known = {process: process for process in self._known.values()}  # equal only if begun at the same time
        self._known = {process.pid: known.get(process, process) for process in current}
        return list(self._known.values())


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
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

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


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (AttributeError, psutil.AccessDenied):
        return int(process.memory_info().rss)


@cache
def _nvml() -> Any:
    """The NVML module, ready; None where there is no GPU or the package is not installed."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no device: all the same to a reader
        return None
    return pynvml


def _gpu(pids: set[int]) -> tuple[int | None, float | None]:
    nvml = _nvml()
    if nvml is None:
        return None, None
    memory, busiest = 0, 0.0
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            busiest = max(busiest, float(nvml.nvmlDeviceGetUtilizationRates(device).gpu))
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(device):
                if process.pid in pids:
                    memory += int(process.usedGpuMemory or 0)
    except Exception:  # a device can be lost at any time
        return None, None
    return memory, busiest
