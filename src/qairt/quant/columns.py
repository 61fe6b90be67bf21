"""Output channels of a weight that are computed together."""

from __future__ import annotations

from torch import Tensor

ON_GPU = 4096
"""Columns at once on a GPU, where few take as long as many."""
_ALIGNED = 16


def slices_of_columns(weight: Tensor, on_cpu: int, unshared: int = 0) -> list[slice]:
    """Slices of the columns of [in, out] that threads share.

    On the CPU an even number of about equal slices, of at most `on_cpu` columns, a multiple of 16; a single one of a
    weight with at most `unshared`. They do not depend on the number of threads. On a GPU slices of `ON_GPU`.
    """
    width, step = weight.shape[1], ON_GPU
    if weight.device.type == "cpu" and width > unshared:
        pairs = -(-width // (2 * on_cpu))
        step = -(-width // (2 * pairs * _ALIGNED)) * _ALIGNED
    return [slice(start, start + step) for start in range(0, width, step)]
