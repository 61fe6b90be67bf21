"""LPBQ scales from the weights: the largest of a block, or those with the least squared error."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from qairt.quant.encodings import SMALLEST_SCALE
from qairt.quant.techniques.lpbq_grid import CHANNEL_RATIOS, HIGHEST, LARGEST_INT_SCALE, LOWEST, SMALLEST_RATIO

TILE_ELEMENTS = 1 << 17
"""Weights looked at together: their copies stay in the processor's cache."""


def block_scales(
    weight: Tensor, block_size: int, candidates: int, energy: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scales on the LPBQ grid.

    Args:
        weight: [in, out], float32.
        block_size: divides `in`.
        candidates: clipping ratios tried per block; 0 for round to nearest.
        energy: weights of the squared errors by input [in]; all the same when None.

    Returns:
        channel scales [out] and block integers [in / block_size, out].
    """
    blocks = weight.reshape(-1, block_size, weight.shape[1])
    low, high = blocks.aminmax(dim=1)
    unclipped = (high / HIGHEST).maximum(low / LOWEST)
    if not candidates:
        channel = _channel_scale(unclipped)
        return channel, _integers((unclipped / channel).round())
    importance = (weight.new_ones(len(weight)) if energy is None else energy).reshape(-1, block_size, 1)
    ideal = _best_ratios(blocks, importance, unclipped, candidates)
    best_channel = _channel_scale(ideal)
    best_integers = torch.empty_like(ideal)
    best_error = torch.full_like(best_channel, torch.inf)
    for ratio in CHANNEL_RATIOS:
        channel = _channel_scale(ideal * ratio)
        integers, error = _better_neighbours(blocks, importance, ideal / channel, channel)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_channel = torch.where(better, channel, best_channel)
        best_integers = torch.where(better, integers, best_integers)
    return best_channel, best_integers


def _best_ratios(blocks: Tensor, importance: Tensor, unclipped: Tensor, candidates: int) -> Tensor:
    """Of ratios of `unclipped` [blocks, out] the ones with the least squared error."""
    ratios = torch.linspace(1.0, SMALLEST_RATIO, candidates).tolist()
    best = torch.empty_like(unclipped)
    for rows, tile in _tiles(blocks):
        scales = [unclipped[rows] * ratio for ratio in ratios]
        errors = torch.stack([_errors(tile, importance[rows], scale) for scale in scales])
        best[rows] = torch.stack(scales).gather(0, errors.argmin(0, keepdim=True))[0]
    return best


def _better_neighbours(blocks: Tensor, importance: Tensor, wanted: Tensor, channel: Tensor) -> tuple[Tensor, Tensor]:
    """Of the integers just below and above `wanted` [blocks, out] the better ones, and each channel's error [out]."""
    integers = torch.empty_like(wanted)
    error = torch.zeros_like(channel)
    for rows, tile in _tiles(blocks):
        below, above = _integers(wanted[rows].floor()), _integers(wanted[rows].ceil())
        error_below, error_above = (
            _errors(tile, importance[rows], below * channel),
            _errors(tile, importance[rows], above * channel),
        )
        integers[rows] = torch.where(error_above < error_below, above, below)
        error += error_below.minimum(error_above).sum(0)
    return integers, error


def _errors(tile: Tensor, importance: Tensor, scale: Tensor) -> Tensor:
    """Squared error [blocks, out] of `tile` [blocks, block_size, out] on the grids of `scale` [blocks, out], weighted
    by `importance` [blocks, block_size, 1]."""
    scale = scale.clamp(min=SMALLEST_SCALE)
    scaled = tile * scale.reciprocal()[:, None]
    rounded = scaled.round().clamp_(LOWEST, HIGHEST)
    return rounded.sub_(scaled).square_().mul_(importance).sum(1) * scale.square()


def _channel_scale(ideal: Tensor) -> Tensor:
    return (ideal.amax(0) / LARGEST_INT_SCALE).clamp(min=SMALLEST_SCALE)


def _integers(values: Tensor) -> Tensor:
    return values.clamp(1, LARGEST_INT_SCALE)


def _tiles(blocks: Tensor) -> Iterator[tuple[slice, Tensor]]:
    count = max(TILE_ELEMENTS // (blocks.shape[1] * blocks.shape[2]), 1)
    for start in range(0, len(blocks), count):
        rows = slice(start, start + count)
        yield rows, blocks[rows]
