"""The grid of low-power block quantization, and the search for the scales of a weight on it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

import torch
from torch import Tensor

from qairt.quant import grid
from qairt.quant.columns import slices_of_columns
from qairt.quant.encodings import SMALLEST_SCALE

BITWIDTH = 4
LOWEST, HIGHEST = -8, 7
"""The steps of 4 bits."""
LARGEST_INT_SCALE = 16
SMALLEST_RATIO = 0.55
"""Of the scale that clips nothing; more clipping never helped on a real model."""
CHANNEL_RATIOS = (1.0, 0.95, 0.9)
"""Of the channel scale that fits its largest block."""
COLUMNS = 512
"""Output channels searched together."""

Cost = Callable[[Tensor], Tensor]
"""Errors of the weights [blocks, block_size, out], which it may overwrite -> cost of each block [blocks, out]."""


def nearest(values: Tensor, scale: Tensor, *, in_place: bool = False) -> Tensor:
    """The values of the 4-bit grid nearest to `values`."""
    return grid.nearest(values, scale, LOWEST, BITWIDTH, in_place=in_place)


def weight_cost(energy: Tensor | None, block_size: int) -> Cost:
    """The squared error of the weights.

    Args:
        energy: weight of each input [in]; all equal when None.
    """
    if energy is None:
        return lambda error: error.square_().sum(1)
    importance = energy.reshape(-1, block_size, 1)
    return lambda error: error.square_().mul_(importance).sum(1)


def output_cost(squares: Tensor) -> Cost:
    """The squared error of the linear's output, each block alone: eᵀ G e.

    Args:
        squares: G [blocks, block_size, block_size], see `qairt.quant.measure.gram.Gram.squares`.
    """
    return lambda error: torch.bmm(squares, error).mul_(error).sum(1)


def largest_scales(weight: Tensor, block_size: int, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The scales of round to nearest: a block's largest weight becomes the largest integer.

    Args:
        weight: [in, out].
        block_size: divides `in`.
        given: channel scales [out]; None to choose them.

    Returns:
        channel scales [out] and block integers [in / block_size, out].
    """
    unclipped = _unclipped(weight.reshape(-1, block_size, weight.shape[1]))
    channel = _channel_scale(unclipped) if given is None else given
    return channel, (unclipped / channel).round_().clamp_(1, LARGEST_INT_SCALE)


def best_scales(
    weight: Tensor, block_size: int, candidates: int, cost: Cost, pool: Executor, given: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scales with the least cost, in the form of `largest_scales`.

    1. Each block's ideal scale is the one with the least cost among `candidates` clipping ratios.
    2. The channel scale is a 16th of the largest of these, or a little less, which gives smaller blocks a finer choice;
       a block's integer is the better of the two neighbours. So the search includes the rounding of the scales.

    Args:
        pool: runs channels in parallel; the result does not depend on its size.
        given: channel scales [out]; None to choose them.
    """
    blocks = weight.reshape(-1, block_size, weight.shape[1])
    channel = weight.new_empty(weight.shape[1])
    integers = weight.new_empty(len(blocks), weight.shape[1])

    @torch.inference_mode()
    def columns(part: slice) -> None:
        own = None if given is None else given[part]
        channel[part], integers[:, part] = _search(blocks[..., part].contiguous(), candidates, cost, own)

    list(pool.map(columns, slices_of_columns(weight, COLUMNS)))
    return channel, integers


def _search(blocks: Tensor, candidates: int, cost: Cost, given: Tensor | None) -> tuple[Tensor, Tensor]:
    unclipped = _unclipped(blocks)
    best, least = unclipped, torch.full_like(unclipped, torch.inf)
    for ratio in torch.linspace(1.0, SMALLEST_RATIO, candidates).tolist():
        scale = unclipped * ratio
        found = _cost_of(blocks, scale, cost)
        better = found < least
        best, least = torch.where(better, scale, best), torch.where(better, found, least)
    if given is not None:
        return given, _integers(blocks, best, given, cost)[1]
    choices = [_integers(blocks, best, _channel_scale(best * ratio), cost) for ratio in CHANNEL_RATIOS]
    which = torch.stack([found for _, _, found in choices]).argmin(0, keepdim=True)
    channel = torch.stack([channel for channel, _, _ in choices]).gather(0, which)[0]
    integers = torch.stack([integers for _, integers, _ in choices])
    return channel, integers.gather(0, which[None].expand(1, *integers.shape[1:]))[0]


def _integers(blocks: Tensor, best: Tensor, channel: Tensor, cost: Cost) -> tuple[Tensor, Tensor, Tensor]:
    """Channel scales [out], the better integers [blocks, out] with them, and their cost [out]."""
    exact = best / channel
    below, above = (value.clamp_(1, LARGEST_INT_SCALE) for value in (exact.floor(), exact.ceil()))
    cost_below, cost_above = (_cost_of(blocks, integers * channel, cost) for integers in (below, above))
    return channel, torch.where(cost_above < cost_below, above, below), cost_below.minimum(cost_above).sum(0)


def _cost_of(blocks: Tensor, scale: Tensor, cost: Cost) -> Tensor:
    """Cost [blocks, out] of `blocks` [blocks, block_size, out] on the grids of `scale` [blocks, out]."""
    return cost(nearest(blocks, scale.clamp(min=SMALLEST_SCALE)[:, None]).sub_(blocks))


def _unclipped(blocks: Tensor) -> Tensor:
    """Scales [blocks, out] at which the largest weight is the largest integer."""
    low, high = blocks.aminmax(dim=1)
    return (high / HIGHEST).maximum(low / LOWEST)


def _channel_scale(ideal: Tensor) -> Tensor:
    return (ideal.amax(0) / LARGEST_INT_SCALE).clamp_(min=SMALLEST_SCALE)
