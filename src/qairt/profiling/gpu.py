"""What a process tree uses of the GPUs, by NVML; None wherever that cannot be told, never a made-up 0."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

_KEPT = 2.0
"""Seconds that a look counts for: a driver can take milliseconds to answer."""
_CUDA_DEVICE = "/dev/nvidia-uvm"
"""Open in every process that computes on a GPU, and in none that only asks about it."""


@dataclass(frozen=True)
class GpuUse:
    """One look at all GPUs."""

    memory: int | None = None
    """Bytes that the tree holds."""
    memory_total: int | None = None
    """Bytes that the GPUs have."""
    percent: float | None = None
    """The busiest one; a GPU that is cut in slices (MIG) does not tell."""


class GpuMeter:
    """Looks at the GPUs, at most every two seconds."""

    def __init__(self) -> None:
        self._use = GpuUse()
        self._due = 0.0
        self._lock = threading.Lock()

    def look(self, pids: Collection[int]) -> GpuUse:
        """What the processes `pids` use; what was found a moment ago counts again."""
        nvml = nvml_module()
        if nvml is None:
            return GpuUse()
        with self._lock:
            if time.monotonic() >= self._due:
                self._use = _look(nvml, pids)
                self._due = time.monotonic() + _KEPT
            return self._use


@cache
def nvml_module() -> Any:
    """The NVML module, ready; None where there is no GPU or the package is not installed."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml if pynvml.nvmlDeviceGetCount() else None
    except Exception:  # no package, no driver, no device: all the same to a reader
        return None


def _look(nvml: Any, pids: Collection[int]) -> GpuUse:
    try:
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # a device can be lost at any time
        return GpuUse()
    memory = [_asked(nvml.nvmlDeviceGetMemoryInfo, device) for device in devices]
    busy = [_asked(nvml.nvmlDeviceGetUtilizationRates, device) for device in devices]
    told = [float(rates.gpu) for rates in busy if rates is not None]
    return GpuUse(
        memory=_held(nvml, devices, pids),
        memory_total=sum(found.total for found in memory) if devices and None not in memory else None,
        percent=max(told) if told else None,
    )


def _asked(question: Callable[[Any], Any], device: Any) -> Any:
    """The answer, None where the driver has none for this device."""
    try:
        return question(device)
    except Exception:  # NVMLError_NotSupported, NVMLError_NoPermission, a lost device
        return None


def _held(nvml: Any, devices: list[Any], pids: Collection[int]) -> int | None:
    """Bytes of the processes `pids`; None if one does not tell, or a container hides which are meant."""
    used: list[int | None] = []
    for device in devices:
        running = _asked(nvml.nvmlDeviceGetComputeRunningProcesses, device)
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
