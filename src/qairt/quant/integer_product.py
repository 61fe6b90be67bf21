"""Products of a tensor and a weight that are both on grids, in integers, as the NPU computes them.

The weight's integers fit a byte: those of 4 bits too, times their block's scale. A tensor's 16 bits are two bytes, the
upper and the lower, so that a product is two of bytes, each exact, and one sum:

    (q + offset) scale @ W = scale (256 (upper - z) @ W + (lower + offset + 256 z) @ W),   z the zero point of the upper

On processors that multiply bytes (VNNI, AMX) this takes half of the time of float32 or less, and its only rounding is
that sum's. Elsewhere oneDNN may saturate in between, so that nothing is computed in integers there.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from qairt.quant.encodings import Encoding
from qairt.quant.weight_grid import weight_steps

_BYTE = 256
_UNIT = 2.0**23
"""From here to twice this, float32 holds the integers alone, in its lowest bits."""


class StoredBytes(NamedTuple):
    """The stored integers of a tensor [rows, in]."""

    lower: Tensor
    """uint8."""
    upper: Tensor | None
    """uint8; None for a grid of at most 8 bits."""
    scale: float
    offset: int

    @classmethod
    def of(cls, values: Tensor, encoding: Encoding) -> StoredBytes:
        """Those of values [..., in], multiples of the step of a grid of at most 16 bits."""
        scale, offset = float(encoding.scale[0]), int(encoding.offset[0])
        quotients = values.reshape(-1, values.shape[-1]) / scale
        stored = quotients.add_(_UNIT - offset).clamp_(_UNIT, _UNIT + encoding.highest).view(torch.int32)
        lower = stored.to(torch.uint8)
        upper = None if encoding.bitwidth <= 8 else stored.bitwise_right_shift_(8).to(torch.uint8)
        return cls(lower, upper, scale, offset)


class IntegerWeight:
    """A weight [in, out] on its grid."""

    def __init__(self, weight: Tensor, encoding: Encoding) -> None:
        """
        Args:
            weight: rounded to its grid here.
            encoding: for which `fits_bytes` holds.

        Raises:
            QuantizationError: the encoding does not fit the weight's shape.
        """
        steps, _, in_block = weight_steps(weight, encoding)
        if in_block is not None:
            steps = steps.mul_(in_block).reshape(weight.shape)
        self._packed = torch.ops.onednn.qlinear_prepack(steps.to(torch.int8).T.contiguous(), None)
        self._scale = torch.from_numpy(np.array(encoding.scale, np.float32)).expand(weight.shape[1]).contiguous()
        self._zero = torch.zeros(weight.shape[1], dtype=torch.int64)

    def product(self, inputs: StoredBytes) -> Tensor:
        """inputs [rows, in] @ weight [in, out] -> float32 [rows, out]."""
        zero = 0 if inputs.upper is None else round(-inputs.offset / _BYTE)
        weight, out = (self._packed, self._scale, self._zero), (1.0, 0, torch.float32)
        lower: Tensor = torch.ops.onednn.qlinear_pointwise(
            inputs.lower, inputs.scale, -inputs.offset - _BYTE * zero, *weight, None, *out, "none", [], ""
        )
        if inputs.upper is None:
            return lower
        total: Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            inputs.upper, inputs.scale * _BYTE, zero, *weight, lower, None, *out, 1.0, 0, "sum", 1.0, "none", [], ""
        )
        return total


def fits_bytes(encoding: Encoding) -> bool:
    """The integers of a weight [in, out] with this encoding fit signed bytes, one scale for each output."""
    if encoding.bitwidth > 8 or encoding.axis not in (None, 1):
        return False
    largest = int(encoding.blocks.int_scale.max()) if encoding.blocks is not None else 1
    lowest, highest = int(encoding.offset.min()), int(encoding.offset.max()) + encoding.highest
    return lowest * largest >= -128 and highest * largest <= 127


@cache
def has_integer_products(device: str) -> bool:
    """The device multiplies bytes faster than floats, and exactly: tried on the largest ones."""
    if torch.device(device).type != "cpu" or not torch.cpu._is_vnni_supported():
        return False
    inputs, values = torch.full((4, 64), 255, dtype=torch.uint8), torch.full((64, 8), 127.0)
    values[:, 1] = -128
    encoding = Encoding(8, True, np.ones(1, np.float32), np.full(1, -128, np.int64))
    try:
        weight = IntegerWeight(values, encoding)
        found = weight.product(StoredBytes(inputs, inputs, 1.0, 0))
    except (AttributeError, RuntimeError):  # another build of torch
        return False
    return torch.equal(found, (65535 * values.sum(0)).expand(4, 8))
