"""What a machine can do at most, measured now, and how much of it a piece of work got.

Source: the roofline model, Williams et al., CACM 52(4), 2009; MFU is from PaLM (Chowdhery et al., 2022), MBU the same
for bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

_LEAST = 5
"""Times a measurement is made."""


class Peak(BaseModel):
    """The most that this machine showed in two short float32 measurements, made beside the work they are a peak of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flops_per_s: float
    """Of a large square matrix product; a multiplication and an addition are two."""
    copy_bytes_per_s: float
    """Of a copy in memory, its bytes counted once for reading and once for writing."""
    read_bytes_per_s: float
    """Of a sum over the same memory."""
    matrix: int
    """Width of the matrices."""
    buffer_bytes: int
    """What was copied; larger than a CPU's caches."""

    @property
    def bytes_per_s(self) -> float:
        """The larger of the two: a copy must fetch what it overwrites on some CPUs, which it does not count."""
        return max(self.copy_bytes_per_s, self.read_bytes_per_s)


class Utilisation(BaseModel):
    """Work done in some time, against a peak."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flops: float
    """That the model needs for it."""
    bytes: float
    """That must come from memory for it, at least: weights once, and the KV cache. Work that fits into a CPU's caches
    can so get more than the peak of memory."""
    seconds: float
    flops_share: float
    """Of the peak, 0 … 1 (MFU)."""
    bytes_share: float
    """Of the peak (MBU)."""

    @classmethod
    def of(cls, flops: float, moved: float, seconds: float, peak: Peak) -> Utilisation:
        return cls(
            flops=flops,
            bytes=moved,
            seconds=seconds,
            flops_share=flops / seconds / peak.flops_per_s,
            bytes_share=moved / seconds / peak.bytes_per_s,
        )


def measure_peak(device: str = "cpu", *, seconds: float = 0.4, buffer_bytes: int = 256 << 20) -> Peak:
    """Measure matrix products and memory on `device` with as many threads as torch is set to.

    Args:
        device: `cpu` or `cuda`.
        seconds: that each of the three is repeated for, at least; the fastest counts.
        buffer_bytes: of each of two buffers.
    """
    import torch

    matrix = 8192 if device == "cuda" else 1024
    wait = torch.cuda.synchronize if device == "cuda" else _nothing
    with torch.inference_mode():
        a, b = (torch.rand(matrix, matrix, device=device) for _ in range(2))
        product = torch.empty_like(a)
        of_product = _fastest(lambda: torch.mm(a, b, out=product), wait, seconds)
        source = torch.ones(buffer_bytes // 4, device=device)
        target = torch.zeros_like(source)
        of_copy = _fastest(lambda: target.copy_(source), wait, seconds)
        of_sum = _fastest(source.sum, wait, seconds)
    return Peak(
        flops_per_s=2 * matrix**3 / of_product,
        copy_bytes_per_s=2 * source.nbytes / of_copy,
        read_bytes_per_s=source.nbytes / of_sum,
        matrix=matrix,
        buffer_bytes=source.nbytes,
    )


def _fastest(work: Callable[[], Any], wait: Callable[[], None], seconds: float) -> float:
    """Seconds of the fastest of many times, the first not counted."""
    work()
    wait()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < _LEAST or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        wait()
        found.append(time.perf_counter() - started)
    return min(found)


def _nothing() -> None:
    """A CPU is done when the call returns."""
