"""Weights that already lie on a 4-bit grid of blocks, as GPTQ's symmetric checkpoints do: their scales, found again.

A search sees only the weights. Where the largest of a block does not reach the end of its grid, none of its candidates
is the block's own scale, and every value moves. With the scales known, the NPU's grid is fitted to them, and nearly all
integers stay what they are (`tests/bench/already_quantized.py` has the figures).
"""

from __future__ import annotations

import torch
from torch import Tensor

from qairt.quant.columns import slices_of_columns
from qairt.quant.encodings import SMALLEST_SCALE
from qairt.quant.techniques.lpbq_grid import COLUMNS, HIGHEST, LARGEST_INT_SCALE, LOWEST

TOLERANCE = 0.04
"""Of a step: values that were rounded to bfloat16 are off by up to 8 / 256 of one."""
_TINY = torch.finfo(torch.float32).tiny
_RATIOS = 64
"""Channel scales that are tried, from one 16th of the largest block's scale to one 8th."""


def stored_scales(weight: Tensor, block_size: int) -> Tensor | None:
    """The scales of the grid that the weights lie on.

    Args:
        weight: [in, out].
        block_size: divides `in`.

    Returns:
        [in / block_size, out], 0 for blocks of zeros; None unless every block lies on a symmetric 4-bit grid.
    """
    blocks = weight.reshape(-1, block_size, weight.shape[1])
    found = []
    for part in slices_of_columns(weight, COLUMNS):
        scales = _scales(blocks[..., part])
        if scales is None:
            return None
        found.append(scales)
    return torch.cat(found, 1)


def fitted_scales(weight: Tensor, scales: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The NPU's scales that are nearest to those of a grid, in the form of `lpbq_grid.largest_scales`.

    Args:
        weight: [in, out] on the grid.
        scales: [blocks, out], see `stored_scales`.
        given: channel scales [out]; None to choose them.
    """
    if given is not None:
        return given, _integers(scales, given)
    energy = weight.reshape(len(scales), -1, weight.shape[1]).square().sum(1)
    largest = scales.amax(0).clamp(min=SMALLEST_SCALE * LARGEST_INT_SCALE)
    relative = energy / scales.clamp(min=_TINY).square()
    channel, least = largest / LARGEST_INT_SCALE, torch.full_like(largest, torch.inf)
    for ratio in torch.linspace(1.0, 2.0, _RATIOS).tolist():
        tried = ratio * largest / LARGEST_INT_SCALE
        cost = (_integers(scales, tried) * tried).sub_(scales).square_().mul_(relative).sum(0)
        channel, least = torch.where(cost < least, tried, channel), cost.minimum(least)
    return channel, _integers(scales, channel)


def _integers(scales: Tensor, channel: Tensor) -> Tensor:
    return (scales / channel).round_().clamp_(1, LARGEST_INT_SCALE)


def _scales(blocks: Tensor) -> Tensor | None:
    """Those of blocks [blocks, block_size, out]: the finest steps on which all values lie, at most 8 to the largest."""
    low, high = blocks.aminmax(dim=1)
    largest = high.maximum(-low)
    found = torch.zeros_like(largest)
    for steps in range(-LOWEST, 0, -1):
        scale = largest / steps
        ratio = blocks / scale.clamp(min=_TINY)[:, None]
        fits = (ratio - ratio.round()).abs_().amax(1) <= TOLERANCE
        fits &= (high <= (HIGHEST + TOLERANCE) * scale) & (found == 0)
        found = torch.where(fits, scale, found)
    return None if ((found == 0) & (largest > 0)).any() else found
