"""What a machine is, as far as what is measured on it depends on that. Opens no driver and loads no torch."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

from qairt.machine import available_cores

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""Of NVIDIA's driver on Linux, and in Windows' Linux."""


def cpu_name() -> str:
    """The processor as it calls itself."""
    try:
        with Path("/proc/cpuinfo").open() as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def gpu_names() -> tuple[str, ...]:
    """The GPUs by name; empty without any, or where the system does not tell."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return tuple(found)


def identity() -> tuple[tuple[str, object], ...]:
    """What makes two measurements comparable, for cache keys: processor, cores we may use, GPUs."""
    return (("cpu", cpu_name()), ("cores", available_cores()), ("gpus", gpu_names()))


def cuda_missing() -> str | None:
    """Why torch cannot compute on a GPU here, as far as it can be told without asking it; None if nothing speaks
    against it."""
    if metadata.version("torch").endswith("+cpu"):
        return "the torch that is installed computes on the CPU only"
    if sys.platform == "linux" and not any(Path(path).exists() for path in _DRIVERS):
        return "this machine has no NVIDIA GPU, or no driver for it"
    return None
