"""A process's own memory over time, with what it was doing meanwhile."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


_MOST = 8192
"""Looks that are kept; of more, every other one is let go, and looks become half as frequent."""


class MemoryPhase(BaseModel):
    """A stretch of time with a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    start: float
    """Seconds since the first look."""
    end: float


class MemoryTimeline(BaseModel):
    """What was found, in the order of time."""

    model_config = ConfigDict(extra="forbid")

    seconds: list[float] = []
    """When it was looked, since the first look."""
    resident: list[int] = []
    """Bytes of this process in RAM (RSS)."""
    gpu: list[int] = []
    """Bytes that torch holds on the GPU; empty without one."""
    phases: list[MemoryPhase] = []


class MemoryTrace:
    """Looks at this process every `interval` seconds in a thread of its own, some ten microseconds each; a context
    manager, used once.

    Args:
        gpu: look at what torch holds on the GPU too.
    """

    def __init__(self, interval: float = 0.02, *, gpu: bool = False) -> None:
        self.timeline = MemoryTimeline()
        self._interval = interval
        self._gpu = gpu
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="memory trace", daemon=True)
        self._started = time.perf_counter()

    def __enter__(self) -> MemoryTrace:
        self._started = time.perf_counter()
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what happens inside."""
        start = time.perf_counter() - self._started
        try:
            yield
        finally:
            end = time.perf_counter() - self._started
            self.timeline.phases.append(MemoryPhase(name=name, start=round(start, 4), end=round(end, 4)))

    def _loop(self) -> None:
        while not self._stop.wait(self._interval):
            self._look()

    def _look(self) -> None:
        found = self.timeline
        if len(found.seconds) >= _MOST:
            self._interval *= 2
            found.seconds, found.resident, found.gpu = found.seconds[::2], found.resident[::2], found.gpu[::2]
        found.seconds.append(round(time.perf_counter() - self._started, 4))
        found.resident.append(_resident())
        if self._gpu:
            import torch

            found.gpu.append(torch.cuda.memory_allocated())


def _resident() -> int:
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    return int(psutil.Process().memory_info().rss)
