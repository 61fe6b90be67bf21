"""Rounding that makes good its own error: GPTQ on a fixed grid, then coordinate descent.

1. GPTQ: inputs are rounded one after the other, those that matter most first; what one lost is made good by those that
   are not rounded yet, as far as their inputs go together.
2. Coordinate descent: once all are rounded, each is looked at again given all others, and moves to the grid value with
   the least output error. Never worse than before.

Source: GPTQ (Frantar et al. 2022); QuantEase (Behdin et al. 2023) for the descent.
"""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor

from qairt.quant.measure.gram import Gram
from qairt.quant.techniques.lpbq_grid import nearest

COLUMNS = 512
"""Output channels rounded together."""
ROWS = 64
"""Inputs after which what was lost is passed on to all that follow."""


def compensated(weight: Tensor, scale: Tensor, gram: Gram, pool: Executor, *, passes: int) -> Tensor:
    """`weight` [in, out] on the grid of `scale` [in, out], with a small output error.

    Args:
        passes: of coordinate descent.
    """
    matrix, order, factor = gram.matrix, gram.order, gram.passing_on  # made before threads ask for them
    result = torch.empty_like(weight)

    @torch.inference_mode()
    def columns(start: int) -> None:
        part = slice(start, start + COLUMNS)
        rounded = torch.empty_like(weight[:, part])
        rounded[order] = _gptq(weight[order, part], scale[order, part], factor)
        for _ in range(passes):
            _descend(rounded, weight[:, part], scale[:, part], matrix)
        result[:, part] = rounded

    list(pool.map(columns, range(0, weight.shape[1], COLUMNS)))
    return result


def wanted(weight: Tensor, rounded: Tensor, gram: Gram) -> Tensor:
    """What each value of `rounded` [in, out] would best be, given all others."""
    return rounded + (gram.matrix @ (weight - rounded)) / gram.matrix.diagonal()[:, None]


def _gptq(weight: Tensor, scale: Tensor, factor: Tensor) -> Tensor:
    """`weight` (changed on the way) on its grid."""
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
            wanted = nearest(rounded[row] + here[place] / diagonal[row], scale[row])
            moved[place] = wanted - rounded[row]
            rounded[row] = wanted
            here.addr_(matrix[start:stop, row], moved[place], alpha=-1)
        pull.addmm_(matrix[:, start:stop], moved, alpha=-1)
