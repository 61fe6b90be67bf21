"""LPBQ scales with the least error of the linear's output.

As `mse` of `qairt.quant.techniques.lpbq`, but a block's error e [block_size, out] counts as eᵀ G e, with G the block's
own square of the Gram matrix: how the block's inputs go together matters, not only how large each is. All candidates
are judged from G; the layer is not run again.

The search also sees the rounding of the block scales to integers: candidates for those are judged by the same error.

Source: SeqMSE of AIMET, which runs the layer for each candidate and rounds the scales afterwards.
"""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor

from qairt.quant.encodings import SMALLEST_SCALE
from qairt.quant.techniques.lpbq_grid import CHANNEL_RATIOS, HIGHEST, LARGEST_INT_SCALE, LOWEST, SMALLEST_RATIO, nearest

COLUMNS = 128
"""Output channels looked at together: their copies stay in the processor's cache."""


def output_error_scales(
    weight: Tensor, gram: Tensor, block_size: int, candidates: int, pool: Executor
) -> tuple[Tensor, Tensor]:
    """Scales on the LPBQ grid.

    Args:
        weight: [in, out].
        gram: [in, in] of its inputs.
        block_size: divides `in`.
        candidates: clipping ratios tried per block.

    Returns:
        channel scales [out] and block integers [in / block_size, out].
    """
    count = len(weight) // block_size
    squares = gram.reshape(count, block_size, count, block_size).diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
    blocks = weight.reshape(count, block_size, -1)
    channel = weight.new_empty(weight.shape[1])
    integers = weight.new_empty(count, weight.shape[1])

    @torch.inference_mode()
    def columns(start: int) -> None:
        stop = start + COLUMNS
        found = _search(blocks[..., start:stop].contiguous(), squares, candidates)
        channel[start:stop], integers[:, start:stop] = found

    list(pool.map(columns, range(0, weight.shape[1], COLUMNS)))
    return channel, integers


def _search(blocks: Tensor, squares: Tensor, candidates: int) -> tuple[Tensor, Tensor]:
    low, high = blocks.aminmax(dim=1)
    unclipped = (high / HIGHEST).maximum(low / LOWEST)
    best, least = unclipped, torch.full_like(unclipped, torch.inf)
    for ratio in torch.linspace(1.0, SMALLEST_RATIO, candidates).tolist():
        scale = unclipped * ratio
        error = _errors(blocks, squares, scale)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    found = [_integers(blocks, squares, best, ratio) for ratio in CHANNEL_RATIOS]
    errors = torch.stack([error for _, _, error in found])
    which = errors.argmin(0, keepdim=True)
    channel = torch.stack([channel for channel, _, _ in found]).gather(0, which)[0]
    integers = torch.stack([integers for _, integers, _ in found])
    return channel, integers.gather(0, which[None].expand(1, *integers.shape[1:]))[0]


def _integers(blocks: Tensor, squares: Tensor, best: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Channel scales [out] of `ratio` of those that fit, the better integers [blocks, out] and the errors [out]."""
    channel = (best * ratio).amax(0).div(LARGEST_INT_SCALE).clamp(min=SMALLEST_SCALE)
    wanted = best / channel
    below, above = (value.clamp(1, LARGEST_INT_SCALE) for value in (wanted.floor(), wanted.ceil()))
    error_below, error_above = (_errors(blocks, squares, integers * channel) for integers in (below, above))
    integers = torch.where(error_above < error_below, above, below)
    return channel, integers, error_below.minimum(error_above).sum(0)


def _errors(blocks: Tensor, squares: Tensor, scale: Tensor) -> Tensor:
    """eᵀ G e [blocks, out] of `blocks` [blocks, block_size, out] on the grids of `scale` [blocks, out]."""
    scale = scale.clamp(min=SMALLEST_SCALE)[:, None]
    error = nearest(blocks, scale).sub_(blocks)
    return torch.bmm(squares, error).mul_(error).sum(1)
