"""The resources of this machine."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from functools import cache
from pathlib import Path

_INSTRUCTIONS = {
    "amx_tile": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "sve": "SVE",
    "i8mm": "I8MM",
    "asimd": "NEON",
}
"""A flag of the processor -> the vector instructions it stands for; the first one found is the best one."""


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that a run may use now: 90 % of the available RAM, or of what a container's limit leaves."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = _container_limit()
    return int(0.9 * (min(free, limit) if limit else free))


def _container_limit() -> int | None:
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
        return None if most == "max" else max(int(most) - used, 0)
    except (OSError, ValueError):
        return None


def total_memory() -> int:
    """Bytes of RAM of this machine, or of the container."""
    import psutil

    physical = int(psutil.virtual_memory().total)
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return physical
    return min(physical, int(most)) if most.isdigit() else physical


def free_space(folder: Path) -> int | None:
    """Bytes that this user can still write on the disk of a folder, or of the nearest one above it that exists; None if
    that is unknown."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def this_host() -> str:
    """The machine's name, as recorded with costs."""
    return socket.gethostname()


def cpu_name() -> str:
    """The processor's model name."""
    return _cpu_information().get("model name") or platform.processor() or platform.machine()


def cpu_instructions() -> str:
    """The best vector instructions of the processor: math libraries choose their code, and so their rounding, by it."""
    information = _cpu_information()
    flags = (information.get("flags") or information.get("Features") or "").split()
    return next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), "unknown")


@cache
def _cpu_information() -> dict[str, str]:
    """`/proc/cpuinfo` of the first processor; empty on other systems."""
    found: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                name, separator, value = line.partition(":")
                if not separator:
                    break
                found[name.strip()] = value.strip()
    except OSError:
        pass
    return found
