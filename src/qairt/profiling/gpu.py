"""GPU use of a process tree, by NVML; None wherever the driver does not report it, never a made-up 0."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

_MAX_AGE = 2.0
"""Seconds for which a sample is reused: a driver can take milliseconds to answer."""
_CUDA_DEVICE = "/dev/nvidia-uvm"
"""Open in every process that computes on a GPU, but not in those that only query it."""

AnswerT = TypeVar("AnswerT")
Device = object
"""A handle of NVML."""


class _Memory(Protocol):
    total: int


class _Utilization(Protocol):
    gpu: int


class _GpuProcess(Protocol):
    pid: int
    usedGpuMemory: int | None  # noqa: N815 - NVML's name


class Nvml(Protocol):
    """What is used of the module `pynvml`."""

    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device: ...
    def nvmlDeviceGetMemoryInfo(self, device: Device) -> _Memory: ...
    def nvmlDeviceGetUtilizationRates(self, device: Device) -> _Utilization: ...
    def nvmlDeviceGetComputeRunningProcesses(self, device: Device) -> Sequence[_GpuProcess]: ...


@dataclass(frozen=True)
class GpuUse:
    """One sample of all GPUs."""

    memory: int | None = None
    """Bytes that the tree holds."""
    memory_total: int | None = None
    """Total memory of the GPUs in bytes."""
    percent: float | None = None
    """Of the busiest GPU; a GPU in MIG mode does not report it."""


class GpuMeter:
    """Samples the GPUs, at most every two seconds."""

    def __init__(self) -> None:
        self._use = GpuUse()
        self._due = 0.0
        self._lock = threading.Lock()

    def sample(self, pids: Collection[int]) -> GpuUse:
        """What the processes `pids` use; a recent sample is reused."""
        nvml = nvml_module()
        if nvml is None:
            return GpuUse()
        with self._lock:
            if time.monotonic() >= self._due:
                self._use = _sample(nvml, pids)
                self._due = time.monotonic() + _MAX_AGE
            return self._use


@cache
def nvml_module() -> Nvml | None:
    """The NVML module, initialised; None when there is no GPU or the package is not installed."""
    try:
        import pynvml

        pynvml.nvmlInit()
        nvml: Nvml = pynvml
        return nvml if nvml.nvmlDeviceGetCount() else None
    except Exception:  # no package, no driver or no device
        return None


def _sample(nvml: Nvml, pids: Collection[int]) -> GpuUse:
    try:
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # a device can be lost at any time
        return GpuUse()
    memory = [_ask(nvml.nvmlDeviceGetMemoryInfo, device) for device in devices]
    rates = [_ask(nvml.nvmlDeviceGetUtilizationRates, device) for device in devices]
    percents = [float(rate.gpu) for rate in rates if rate is not None]
    return GpuUse(
        memory=_used_memory(nvml, devices, pids),
        memory_total=sum(each.total for each in memory if each is not None) if devices and None not in memory else None,
        percent=max(percents) if percents else None,
    )


def _ask(question: Callable[[Device], AnswerT], device: Device) -> AnswerT | None:
    """The answer; None when the driver has none for this device."""
    try:
        return question(device)
    except Exception:  # NVMLError_NotSupported, NVMLError_NoPermission, a lost device
        return None


def _used_memory(nvml: Nvml, devices: Sequence[Device], pids: Collection[int]) -> int | None:
    """Bytes of the processes `pids`; None if the driver does not report it, or a container hides the host's pids."""
    used: list[int | None] = []
    for device in devices:
        running = _ask(nvml.nvmlDeviceGetComputeRunningProcesses, device)
        if running is None:
            return None
        used += [process.usedGpuMemory for process in running if process.pid in pids]
    if None in used or (not used and any(map(_computes, pids))):
        return None
    return sum(memory for memory in used if memory is not None)


def _computes(pid: int) -> bool:
    """Whether a process has a GPU open."""
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):
        for number in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(f"{folder}/{number}") == _CUDA_DEVICE:
                    return True
    return False
