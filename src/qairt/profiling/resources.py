"""What a process tree uses now: RAM as PSS, CPU, the GPU if there is one; and what all other programs use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from qairt.profiling.gpu import GpuMeter
from qairt.profiling.machine_use import MachineMeter
from qairt.profiling.process_tree import Process, ProcessTree, SharedMemory


@dataclass(frozen=True)
class Sample:
    """One sample of a process tree. GPU fields are None when there is no GPU or it does not report them."""

    ram: int
    """Bytes: the sum of PSS over the tree (RSS where the system has no PSS)."""
    cpu_percent: float
    """Of one core, since the last sample."""
    gpu_memory: int | None
    """Bytes that the tree holds on all GPUs."""
    gpu_percent: float | None
    """Of the busiest GPU."""
    gpu_memory_total: int | None = None
    """Total memory of the GPUs in bytes."""
    machine_ram: int = 0
    """Bytes used by all programs of the machine, this tree included."""
    machine_cpu_percent: float = 0.0
    """Of one core, by all programs of the machine since the last sample."""


class TreeMeter:
    """Samples a process and its descendants repeatedly."""

    def __init__(self, pid: int | None = None) -> None:
        self.processes: dict[int, Process] = {}
        """The tree at the last sample."""
        self._tree = ProcessTree(pid)
        self._memory = SharedMemory()
        self._gpu = GpuMeter()
        self._machine = MachineMeter()
        self._sampled_at: float | None = None
        self._lock = threading.Lock()

    def sample(self) -> Sample:
        """What the tree uses now; may be called from several threads."""
        with self._lock:
            return self._sample()

    def _sample(self) -> Sample:
        before, now = self.processes, time.monotonic()
        processes = self.processes = self._tree.sample()
        spent = 0.0
        if self._sampled_at is not None and now > self._sampled_at:
            spent = sum(_since(before.get(pid), process) for pid, process in processes.items()) / (
                now - self._sampled_at
            )
        self._sampled_at = now
        gpu = self._gpu.sample(processes.keys())
        return Sample(
            ram=self._memory.total(processes.values()),
            cpu_percent=100 * spent,
            gpu_memory=gpu.memory,
            gpu_memory_total=gpu.memory_total,
            gpu_percent=gpu.percent,
            machine_ram=self._machine.ram(),
            machine_cpu_percent=self._machine.cpu_percent(),
        )


def _since(before: Process | None, process: Process) -> float:
    """CPU seconds since an earlier sample; all of them for a process that started since."""
    known = before is not None and before.began == process.began
    return process.cpu_seconds - (before.cpu_seconds if before is not None and known else 0.0)


def sample(pid: int | None = None) -> Sample:
    """One sample of the tree of `pid`, this process when None."""
    return TreeMeter(pid).sample()


class ResourceSampler:
    """Samples every `interval` seconds in its own thread. Start it once.

    Args:
        on_sample: called with each sample, in that thread.
    """

    def __init__(self, interval: float, on_sample: Callable[[Sample], None]) -> None:
        self._interval = interval
        self._on_sample = on_sample
        self._meter = TreeMeter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="resource sampler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stop.set()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    @property
    def processes(self) -> dict[int, Process]:
        """The tree at the last sample."""
        return self._meter.processes

    def sample(self) -> Sample:
        """One extra sample."""
        return self._meter.sample()

    def _loop(self) -> None:
        while not self._stop.wait(self._interval):
            self._on_sample(self.sample())
