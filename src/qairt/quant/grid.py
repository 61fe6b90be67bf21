"""Rounding to a grid: the one rule that quantized weights, inputs, simulated tensors and searches share.

    step = clip(round_half_even(x / scale), offset, offset + 2^bitwidth - 1)
    stored integer = step - offset                                              real = step * scale

1. float32 throughout, as ONNX's QuantizeLinear and the NPU compute it. `x / scale` is one division: a product with
   1 / scale, or a float64 division, gives another integer for values next to the middle of two steps.
2. Halves round to even.
3. Clipped as steps, before the offset is subtracted: whatever lies beyond the grid, infinity too, becomes its end.
4. Above 16 bits (biases) float64, because float32 holds integers up to 24 bits only.

The NumPy and torch versions of it give bit-identical results. Imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Offset = TypeVar("Offset", int, "Tensor")
Reals: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
"""float32; float64 above 16 bits."""


def to_steps(
    values: NDArray[np.floating],
    scale: NDArray[np.floating] | np.float32,
    offset: NDArray[np.integer] | int,
    bitwidth: int,
) -> Reals:
    """The nearest steps of the grid, a new array.

    Args:
        values: of any shape, finite or infinite.
        scale: step size; broadcasts against `values`.
        offset: the lowest step; broadcasts against `values`.
    """
    dtype = _dtype(bitwidth)
    with np.errstate(over="ignore"):  # infinity: rule 3
        steps = np.asarray(np.asarray(values, dtype) / np.asarray(scale, dtype))
    np.rint(steps, out=steps)
    lowest = np.asarray(offset, dtype)
    return np.clip(steps, lowest, lowest + _highest(bitwidth), out=steps)


def from_steps(
    steps: NDArray[np.integer] | Reals, scale: NDArray[np.floating] | np.float32, bitwidth: int
) -> NDArray[np.float32]:
    """The values of steps."""
    dtype = _dtype(bitwidth)
    return np.asarray(np.asarray(steps, dtype) * np.asarray(scale, dtype), np.float32)


def nearest(values: Tensor, scale: Tensor | float, offset: Offset, bitwidth: int, *, in_place: bool = False) -> Tensor:
    """The nearest values of a grid of at most 16 bits, float32.

    Args:
        values: float32, of any shape.
        scale: step size, on the device of `values`; broadcasts against them.
        offset: the lowest step; broadcasts against `values`.
        in_place: overwrite `values` instead of making a new tensor.
    """
    # by a Python number CUDA multiplies with its inverse instead
    step = values.new_full((), scale) if isinstance(scale, float) else scale
    quotients = values.div_(step) if in_place else values / step
    return clip_to_steps_(quotients, offset, bitwidth).mul_(step)


def clip_to_steps_(quotients: Tensor, offset: Offset, bitwidth: int) -> Tensor:
    """Round `x / scale` to the steps of a grid, in place."""
    return quotients.round_().clamp_(offset, offset + _highest(bitwidth))


def _highest(bitwidth: int) -> int:
    return (1 << bitwidth) - 1


def _dtype(bitwidth: int) -> type[np.float32] | type[np.float64]:
    return np.float64 if bitwidth > 16 else np.float32
