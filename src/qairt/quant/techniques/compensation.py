"""Rounding that compensates its own error: GPTQ on a fixed grid, then coordinate descent.

1. GPTQ: inputs are rounded one by one, those that matter most first; the inputs not rounded yet compensate each error,
   as far as they correlate.
2. Coordinate descent: once all are rounded, each weight moves to the grid value with the least output error given all
   others. The result is never worse than before.

Source: GPTQ (Frantar et al. 2022); QuantEase (Behdin et al. 2023) for the descent.
"""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor

from qairt.quant.columns import slices_of_columns
from qairt.quant.measure.gram import Gram
from qairt.quant.techniques.lpbq_grid import nearest

COLUMNS = 2048
"""Outputs that are computed together: few of them are not worth the overhead of each step's small operations."""
UNSHARED_COLUMNS = 1600
"""Up to so many outputs, one thread is faster than two, which wait for each other between small operations."""
ROWS = 64
"""Inputs after which accumulated errors are propagated to all that follow."""


def compensated(weight: Tensor, scale: Tensor, gram: Gram, pool: Executor, *, passes: int) -> Tensor:
    """`weight` [in, out] on the grid of `scale` [in, out], with a small output error.

    Args:
        passes: number of coordinate descent passes.
    """
    matrix, order, factor = gram.matrix, gram.order, gram.inverse_cholesky  # computed before threads use them
    result = torch.empty_like(weight)

    @torch.inference_mode()
    def columns(part: slice) -> None:
        rounded = torch.empty_like(weight[:, part])
        rounded[order] = _gptq(weight[order, part], scale[order, part], factor)
        for _ in range(passes):
            _descend(rounded, weight[:, part], scale[:, part], matrix)
        result[:, part] = rounded

    list(pool.map(columns, slices_of_columns(weight, COLUMNS, UNSHARED_COLUMNS)))
    return result


def ideal_values(weight: Tensor, rounded: Tensor, gram: Gram) -> Tensor:
    """The value of each weight that minimizes the output error, given all others of `rounded` [in, out]."""
    return rounded + (gram.matrix @ (weight - rounded)) / gram.matrix.diagonal()[:, None]


def _gptq(weight: Tensor, scale: Tensor, factor: Tensor) -> Tensor:
    """`weight` (overwritten) on its grid."""
    rounded: list[Tensor] = []
    rows, scales, factors = weight.unbind(), scale.unbind(), factor.unbind()
    inverse = factor.diagonal().reciprocal().tolist()
    for start in range(0, len(weight), ROWS):
        stop = min(start + ROWS, len(weight))
        lost = torch.empty_like(weight[start:stop])
        for row, error in enumerate(lost.unbind(), start):
            rounded.append(nearest(rows[row], scales[row]))
            torch.sub(rows[row], rounded[row], out=error).mul_(inverse[row])
            weight[row + 1 : stop].addr_(factors[row][row + 1 : stop], error, alpha=-1)
        weight[stop:].addmm_(factor[start:stop, stop:].T, lost, alpha=-1)
    return torch.stack(rounded)


def _descend(rounded: Tensor, weight: Tensor, scale: Tensor, matrix: Tensor) -> None:
    """One pass over `rounded`, changed in place."""
    pull = matrix @ (weight - rounded)
    values, scales, pulls, products = rounded.unbind(), scale.unbind(), pull.unbind(), matrix.unbind()
    inverse = matrix.diagonal().reciprocal().tolist()
    best = torch.empty_like(values[0])
    for start in range(0, len(rounded), ROWS):
        stop = min(start + ROWS, len(rounded))
        moved = torch.empty_like(rounded[start:stop])
        for row, move in enumerate(moved.unbind(), start):
            torch.add(values[row], pulls[row], alpha=inverse[row], out=best)
            nearest(best, scales[row], in_place=True)
            torch.sub(best, values[row], out=move)
            values[row].copy_(best)
            pull[row + 1 : stop].addr_(products[row][row + 1 : stop], move, alpha=-1)
        pull[stop:].addmm_(matrix[stop:, start:stop], moved, alpha=-1)
