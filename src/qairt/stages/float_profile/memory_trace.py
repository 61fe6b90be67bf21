"""Memory use of this process over time, with named phases."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_MAX_SAMPLES = 8192
"""When full, every other sample is dropped and the interval doubles."""


class MemoryPhase(BaseModel):
    """A named span of time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    start: float
    """Seconds since the first sample."""
    end: float


class MemoryTimeline(BaseModel):
    """Samples in chronological order."""

    model_config = ConfigDict(extra="forbid")

    seconds: list[float] = []
    """Time of each sample, since the first."""
    resident: list[int] = []
    """Resident set size, bytes."""
    gpu: list[int] = []
    """Bytes that torch has allocated on the GPU; empty without a GPU."""
    phases: list[MemoryPhase] = []


class MemoryTrace:
    """Samples this process's memory every `interval` seconds from a background thread; a single-use context manager.

    A sample takes about ten microseconds.

    Args:
        gpu: sample torch's GPU memory too.
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
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Record the block as a phase."""
        start = time.perf_counter() - self._started
        try:
            yield
        finally:
            end = time.perf_counter() - self._started
            self.timeline.phases.append(MemoryPhase(name=name, start=round(start, 4), end=round(end, 4)))

    def _loop(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        timeline = self.timeline
        if len(timeline.seconds) >= _MAX_SAMPLES:
            self._interval *= 2
            timeline.seconds, timeline.resident = timeline.seconds[::2], timeline.resident[::2]
            timeline.gpu = timeline.gpu[::2]
        timeline.seconds.append(round(time.perf_counter() - self._started, 4))
        timeline.resident.append(_resident())
        if self._gpu:
            import torch

            timeline.gpu.append(torch.cuda.memory_allocated())


def _resident() -> int:
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * _PAGE
    return int(psutil.Process().memory_info().rss)
