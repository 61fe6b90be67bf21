"""The machine's measured peak, and the fraction of it that a workload reached.

Source: the roofline model, Williams et al., CACM 52(4), 2009; MFU is from PaLM (Chowdhery et al., 2022), MBU the same
for bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

_MIN_RUNS = 5


class Peak(BaseModel):
    """Peak throughput in short float32 measurements, taken in the same item as the workload."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flops_per_s: float
    """Large square matrix product; a multiply-add is 2."""
    copy_bytes_per_s: float
    """Memory copy; each byte counts once as read and once as written."""
    read_bytes_per_s: float
    """Sum over the same buffer."""
    matrix: int
    """Width of the matrices."""
    buffer_bytes: int
    """Size of the copied buffer; larger than a CPU's caches."""

    @property
    def bytes_per_s(self) -> float:
        """The larger of the two. On some CPUs a copy also reads its target, which is not counted."""
        return max(self.copy_bytes_per_s, self.read_bytes_per_s)


class Utilisation(BaseModel):
    """A workload relative to a peak."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flops: float
    """Required by the model's shape."""
    bytes: float
    """Minimum read from memory: weights once, and the KV cache. A model that fits in the CPU's caches can exceed the
    memory peak."""
    seconds: float
    flops_share: float
    """Fraction of peak FLOP/s, 0 to 1 (MFU)."""
    bytes_share: float
    """Fraction of peak bandwidth (MBU)."""

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
    """Measure matrix products and memory bandwidth on `device`, with torch's current number of threads.

    Args:
        device: `cpu` or `cuda`.
        seconds: minimum time to repeat each of the three measurements; the fastest run counts.
        buffer_bytes: size of each of two buffers.
    """
    import torch

    matrix = 8192 if device == "cuda" else 1024
    synchronize = torch.cuda.synchronize if device == "cuda" else _nothing
    with torch.inference_mode():
        a, b = (torch.rand(matrix, matrix, device=device) for _ in range(2))
        product = torch.empty_like(a)
        product_s = _fastest(lambda: torch.mm(a, b, out=product), synchronize, seconds)
        source = torch.ones(buffer_bytes // 4, device=device)
        target = torch.zeros_like(source)
        copy_s = _fastest(lambda: target.copy_(source), synchronize, seconds)
        sum_s = _fastest(source.sum, synchronize, seconds)
    return Peak(
        flops_per_s=2 * matrix**3 / product_s,
        copy_bytes_per_s=2 * source.nbytes / copy_s,
        read_bytes_per_s=source.nbytes / sum_s,
        matrix=matrix,
        buffer_bytes=source.nbytes,
    )


def _fastest(work: Callable[[], object], synchronize: Callable[[], None], seconds: float) -> float:
    """Seconds of the fastest run; the first is a warm-up."""
    work()
    synchronize()
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while len(durations) < _MIN_RUNS or time.perf_counter() < end:
        started = time.perf_counter()
        work()
        synchronize()
        durations.append(time.perf_counter() - started)
    return min(durations)


def _nothing() -> None:
    """CPU work has finished when the call returns."""
