"""The hardware that a measurement depends on. Opens no driver and does not import torch."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from qairt.machine import available_cores, cpu_name

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
"""Device files of NVIDIA's driver, on Linux and under WSL."""


def gpu_names() -> tuple[str, ...]:
    """Names of the GPUs; empty if there are none or the system does not list them."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return tuple(found)


def identity() -> tuple[tuple[str, object], ...]:
    """Processor, usable cores and GPUs, for cache keys: measurements are comparable only if these match."""
    return (("cpu", cpu_name()), ("cores", available_cores()), ("gpus", gpu_names()))


def cuda_missing() -> str | None:
    """Why torch cannot use a GPU here, as far as can be seen without importing it; None if nothing was found."""
    if metadata.version("torch").endswith("+cpu"):
        return "the installed torch is a CPU-only build"
    if sys.platform == "linux" and not any(Path(path).exists() for path in _DRIVERS):
        return "this machine has no NVIDIA GPU, or its driver is not installed"
    return None
