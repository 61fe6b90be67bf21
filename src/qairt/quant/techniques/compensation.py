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
from qairt.quant.measure.gram import COLUMNS, Gram
from qairt.quant.techniques.lpbq_grid import nearest

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

    list(pool.map(columns, slices_of_columns(weight, COLUMNS)))
    return result


def ideal_values(weight: Tensor, rounded: Tensor, gram: Gram) -> Tensor:
    """The value of each weight that minimizes the output error, given all others of `rounded` [in, out]."""
    return rounded + (gram.matrix @ (weight - rounded)) / gram.matrix.diagonal()[:, None]


def _gptq(weight: Tensor, scale: Tensor, factor: Tensor) -> Tensor:
    """`weight` (overwritten) on its grid."""
    rounded = torch.empty_like(weight)
    for start in range(0, len(weight), ROWS):
        stop = min(start + ROWS, len(weight))
        lost = torch.empty_like(weight[start:stop])
        for row in range(start, stop):
            rounded[row] = nearest(weight[row], scale[row])
            lost[row - start] = (weight[row] - rounded[row]) / factor[row, row]
            weight[row + 1 : stop].addr_(factor[row, row + 1 : stop], lost[row - start], alpha=-1)
        weight[stop:].addmm_(factor[start:stop, stop:].T, lost, alpha=-1)
    return rounded


def _descend(rounded: Tensor, weight: Tensor, scale: Tensor, matrix: Tensor) -> None:
    """One pass over `rounded`, changed in place."""
    pull = matrix @ (weight - rounded)
    diagonal = matrix.diagonal()
    for start in range(0, len(rounded), ROWS):
        stop = min(start + ROWS, len(rounded))
        moved = torch.empty_like(rounded[start:stop])
        here = pull[start:stop].clone()
        for row in range(start, stop):
            place = row - start
            best = nearest(rounded[row] + here[place] / diagonal[row], scale[row])
            moved[place] = best - rounded[row]
            rounded[row] = best
            here.addr_(matrix[start:stop, row], moved[place], alpha=-1)
        pull.addmm_(matrix[:, start:stop], moved, alpha=-1)
