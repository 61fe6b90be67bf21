"""Weights on their grids, in torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qairt.quant.encodings import Encoding
from qairt.quant.grid import clip_to_steps_


class WeightSteps(NamedTuple):
    """A weight in steps of its scale: `steps * scale` is its value."""

    steps: Tensor
    """float32 in the weight's shape; of LPBQ [in / block_size, block_size, out]."""
    scale: Tensor
    """Broadcasts against `steps`."""
    in_block: Tensor | None
    """Of LPBQ, what the channel's scale is multiplied by in each block [in / block_size, 1, out]."""


def rounded_weight(weight: Tensor, encoding: Encoding) -> Tensor:
    """`Encoding.nearest` in torch: the same values, with only one temporary of the weight's size.

    Raises:
        QuantizationError: the encoding does not fit the weight's shape.
    """
    if encoding.bitwidth > 16:  # float32 cannot represent these integers
        return torch.from_numpy(encoding.nearest(weight.cpu().numpy())).to(weight.device)
    found = weight_steps(weight, encoding)
    return found.steps.mul_(found.scale).reshape(weight.shape)


def weight_steps(weight: Tensor, encoding: Encoding) -> WeightSteps:
    """The steps nearest to a weight, in new memory.

    Args:
        encoding: of at most 16 bits.

    Raises:
        QuantizationError: the encoding does not fit the weight's shape.
    """
    encoding.check_shape(tuple(weight.shape))
    scale, offset = (
        torch.from_numpy(np.asarray(values, np.float32)).to(weight.device)
        for values in (encoding.scale, encoding.offset)
    )
    rows, in_block = weight, None
    if encoding.blocks is not None:
        integers = torch.from_numpy(encoding.blocks.int_scale.astype(np.float32)).to(weight.device)
        in_block = integers[:, None]
        rows = weight.reshape(len(integers), encoding.blocks.block_size, -1)
        scale = (integers * scale)[:, None]
    elif encoding.axis is not None:
        shape = [-1 if axis == encoding.axis else 1 for axis in range(weight.ndim)]
        scale, offset = scale.reshape(shape), offset.reshape(shape)
    return WeightSteps(clip_to_steps_(rows / scale, offset, encoding.bitwidth), scale, in_block)
