"""What a process used: CPU time, memory, file access."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel


class Usage(BaseModel):
    """Of one item, summed over its processes."""

    peak_rss: int = 0
    """Bytes, of the largest process; 0 if not known (an item in the engine's own process)."""
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    """By system calls, or from the disk if that is more, since files can be mapped. Likewise `bytes_written`."""
    bytes_written: int = 0

    def since(self, before: Usage) -> Usage:
        """What was used since `before`, in the same process. Without the peak, which may be older."""
        return Usage(
            cpu_seconds=round(max(self.cpu_seconds - before.cpu_seconds, 0.0), 3),
            bytes_read=max(self.bytes_read - before.bytes_read, 0),
            bytes_written=max(self.bytes_written - before.bytes_written, 0),
        )


def usage_so_far() -> Usage:
    """Of this process since it started, with its ended children."""
    times = os.times()
    read, written = _bytes_moved()
    return Usage(
        peak_rss=_peak_rss(),
        cpu_seconds=round(time.process_time() + times.children_user + times.children_system, 3),
        bytes_read=read,
        bytes_written=written,
    )


def usage_of(pid: int, before: Usage) -> Usage:
    """Of another process and its descendants, as far as visible from outside.

    Args:
        before: an earlier result. Nothing gets less when a process has ended or cannot be seen.
    """
    seen = [_seen(each) for each in (pid, *_descendants(pid))]
    return Usage(
        peak_rss=max(before.peak_rss, *(each.peak_rss for each in seen)),
        cpu_seconds=max(before.cpu_seconds, round(sum(each.cpu_seconds for each in seen), 3)),
        bytes_read=max(before.bytes_read, sum(each.bytes_read for each in seen)),
        bytes_written=max(before.bytes_written, sum(each.bytes_written for each in seen)),
    )


def _descendants(pid: int) -> list[int]:
    """All descendants, from the kernel's own lists: searching all processes of the machine takes milliseconds."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, tasks.read_text(encoding="utf-8").split()):
                found += [child, *_descendants(child)]
    return found


def _seen(pid: int) -> Usage:
    """Of one process, with its ended children."""
    import psutil

    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        peak = _high_water(pid) or process.memory_info().rss
    except psutil.Error:
        return Usage()
    read, written = _bytes_moved(pid)
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return Usage(peak_rss=peak, cpu_seconds=times.user + times.system + ended, bytes_read=read, bytes_written=written)


def _bytes_moved(pid: int | str = "self") -> tuple[int, int]:
    """Read and written; (0, 0) if the system does not count them."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="utf-8").splitlines()
        counts = {name: int(count) for name, _, count in (line.partition(":") for line in lines)}
        return max(counts["rchar"], counts["read_bytes"]), max(counts["wchar"], counts["write_bytes"])
    except (OSError, ValueError, KeyError):
        return 0, 0


def _peak_rss() -> int:
    """Peak resident memory of this process or of its largest child, in bytes."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    # on Linux ru_maxrss includes the parent's memory at the time of the fork; the high-water mark does not
    own = _high_water("self") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(own, children)


def _high_water(pid: int | str) -> int:
    """The peak memory of a process in bytes; 0 if the system does not report it."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0
