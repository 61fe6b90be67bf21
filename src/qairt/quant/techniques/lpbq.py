"""Low-power block quantization: 4-bit weights, a scale per block of inputs and output channel.

    scale[b, o] = int_scale[b, o] * channel_scale[o],   int_scale in 1 … 16

The NPU holds nothing finer, so the integers are chosen where they are used, on this grid:

1. `ideal[b, o]`: the scale a block would want by itself. `rtn`: its largest weight becomes the largest integer. `mse`:
   of ratios of that, the one with the least squared error; errors count by how much their input matters.
2. `channel_scale[o]`: a 16th of the channel's largest `ideal`; `mse` also tries a little less, which gives the smaller
   blocks a finer choice.
3. `int_scale`: `rtn`: the nearest integer. `mse`: of the two integers around `ideal / channel_scale` the better one.

Source: AIMET's LPBQ, which rounds block scales after its search; here the search sees the rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, BlockScales, Encoding, symmetric_channels

LOWEST, HIGHEST = -8, 7
"""The integers of 4 bits."""
LARGEST_INT_SCALE = 16
SMALLEST_RATIO = 0.55
"""Of the scale that clips nothing; clipping more never paid on a real model."""
CHANNEL_RATIOS = (1.0, 0.95, 0.9)
TILE_ELEMENTS = 1 << 17
"""Weights looked at together: their copies stay in the processor's cache."""


class Lpbq:
    """See the module."""

    def __init__(self, config: TechniqueConfig) -> None:
        self._config = config
        self.needs_energy = config.scale_search == "mse" and config.importance == "energy"

    @torch.inference_mode()
    def encode(self, name: str, weight: Tensor, energy: Tensor | None = None) -> Encoding:
        size = self._config.block_size
        if weight.shape[0] % size:
            raise QuantizationError(
                f"block_size {size} does not divide its input width {weight.shape[0]}",
                where=name,
                remedy="use a block size that does, or the minmax technique",
            )
        candidates = self._config.candidates if self._config.scale_search == "mse" else 0
        scale, integers = block_scales(weight, size, candidates, energy)
        blocks = BlockScales(size, integers.numpy().astype(np.uint8), self._config.decompressed_bitwidth)
        return symmetric_channels(scale.numpy(), self._config.bits, axis=1, blocks=blocks)


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
    importance = (torch.ones(len(weight)) if energy is None else energy).reshape(-1, block_size, 1)
    ideal = _best_ratios(blocks, importance, unclipped, candidates)
    best_channel = _channel_scale(ideal)
    best_integers = torch.empty_like(ideal)
    best_error = torch.full(best_channel.shape, torch.inf)
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
