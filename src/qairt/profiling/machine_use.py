"""What all programs of this machine use together."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


class MachineMeter:
    """Samples the whole machine repeatedly, or the container if it has a memory limit."""

    def __init__(self) -> None:
        self._busy, self._all = _cpu_seconds()

    def cpu_percent(self) -> float:
        """Of one core, since the last call or the start."""
        busy, total = _cpu_seconds()
        spent, passed = busy - self._busy, total - self._all
        self._busy, self._all = busy, total
        return 100.0 * (psutil.cpu_count() or 1) * spent / passed if passed > 0 else 0.0

    def ram(self) -> int:
        """Bytes in use, without caches that the system gives back."""
        return _container_use() or _physical_use()


def _cpu_seconds() -> tuple[float, float]:
    """Busy, and in total, of all cores since the machine started."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    counted = (times.user, times.system, times.nice, idle, getattr(times, "irq", 0.0), getattr(times, "softirq", 0.0))
    stolen = getattr(times, "steal", 0.0)
    return sum(counted) + stolen - idle, sum(counted) + stolen


def _physical_use() -> int:
    memory = psutil.virtual_memory()
    return int(memory.total - memory.available)


def _container_use() -> int | None:
    """Of a container with a memory limit; None without one."""
    try:
        if not (_CGROUP / "memory.max").read_text(encoding="utf-8").strip().isdigit():
            return None
        used = int((_CGROUP / "memory.current").read_text(encoding="utf-8"))
        kept = dict(line.split() for line in (_CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines())
        return max(used - int(kept.get("active_file", 0)) - int(kept.get("inactive_file", 0)), 0)
    except (OSError, ValueError):
        return None
