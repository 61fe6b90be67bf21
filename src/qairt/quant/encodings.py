"""Encodings: how a tensor's real values map to an integer grid.

AIMET's convention throughout: `real = (q + offset) * scale` with q on the unsigned grid 0 … 2^bitwidth - 1, so
`zero_point = -offset` and a symmetric 8-bit tensor has offset -128. ONNX stores activations unsigned
(zero_point = -offset) and weights signed with zero point 0.

Rounding follows `qairt.quant.grid`, so integers computed here are bit for bit what the quantized graph holds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.quant.grid import Reals, from_steps, to_steps

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

SMALLEST_SCALE = float(np.finfo(np.float32).eps)
"""1.19e-7: the scale of a channel or tensor that is zero everywhere ("dead")."""


@dataclass(frozen=True, eq=False)
class BlockScales:
    """The low-power block part of an LPBQ encoding: `scale[b, o] = int_scale[b, o] * per_channel_scale[o]`."""

    block_size: int
    """Inputs per scale; divides the weight's input width."""
    int_scale: NDArray[np.uint8]
    """[in / block_size, out], integers 1 … 16."""
    decompressed_bitwidth: int = 8


@dataclass(frozen=True, eq=False)
class Encoding:
    """The grid of one tensor: per tensor (scale of one element), per channel (scale [channels]), or LPBQ."""

    bitwidth: int
    """Bits of the stored integers: 4 for LPBQ weights, 8 or 16 for the rest, 32 for biases."""
    symmetric: bool
    """Signed integers around zero point 0: every offset is -2^(bitwidth - 1)."""
    scale: NDArray[np.float32]
    """[1] per tensor, [channels] per channel and for LPBQ."""
    offset: NDArray[np.int64]
    """The same length as `scale`; from -(2^bitwidth - 1) to 0."""
    axis: int | None = None
    """The channel axis of a per-channel or LPBQ encoding (1 for a MatMul weight [in, out]); None per tensor."""
    blocks: BlockScales | None = None
    """Set for LPBQ only."""

    def __post_init__(self) -> None:
        # Symmetric weights are stored without their offset, so that any other one would be lost.
        if self.symmetric and np.any(self.offset != -(1 << self.bitwidth - 1)):
            raise ValueError(f"a symmetric encoding of {self.bitwidth} bits has offset {-(1 << self.bitwidth - 1)}")

    @property
    def highest(self) -> int:
        """The largest integer of the unsigned grid."""
        return (1 << self.bitwidth) - 1

    @property
    def minimum(self) -> Floats:
        """The smallest representable value, per element of `scale`; for LPBQ, with block scale 1."""
        return np.asarray(self.offset * self.scale, np.float32)

    @property
    def maximum(self) -> Floats:
        """The largest representable value, per element of `scale`; for LPBQ, with block scale 1."""
        return np.asarray((self.highest + self.offset) * self.scale, np.float32)

    def effective_scale(self, shape: tuple[int, ...]) -> Floats:
        """The scale of every value, in a shape that broadcasts against `shape`.

        Raises:
            QuantizationError: the encoding does not fit `shape`.
        """
        self.check_shape(shape)
        if self.blocks is not None:
            per_block: Floats = self.blocks.int_scale.astype(np.float32) * self.scale
            return np.repeat(per_block, self.blocks.block_size, axis=0)
        return self.scale.reshape(self._broadcast_shape(len(shape)))

    def effective_offset(self, rank: int) -> Integers:
        """The offset of every value, in a shape that broadcasts against a tensor of `rank`."""
        return self.offset.reshape(self._broadcast_shape(rank))

    def to_steps(self, values: NDArray[np.floating]) -> Reals:
        """Values in steps of their scale, rounded to the grid: `offset` … `offset + highest`."""
        return to_steps(values, self.effective_scale(values.shape), self.effective_offset(values.ndim), self.bitwidth)

    def quantize(self, values: NDArray[np.floating]) -> Integers:
        """Integers on the unsigned grid."""
        return np.asarray(self.to_steps(values), np.int64) - self.effective_offset(values.ndim)

    def dequantize(self, integers: NDArray[np.integer]) -> Floats:
        """The values of integers of the unsigned grid."""
        steps = integers + self.effective_offset(integers.ndim)
        return from_steps(steps, self.effective_scale(integers.shape), self.bitwidth)

    def nearest(self, values: NDArray[np.floating]) -> Floats:
        """The values of the grid nearest to `values`."""
        return self.dequantize(self.quantize(values))

    def bands(self, shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, Encoding]]:
        """Slices of a tensor's first axis, about `most` elements each, and the encoding of each: whole blocks, and an
        even number of elements in all but the last."""
        if not shape:
            yield slice(0, 1), self
            return
        step = 2 * (self.blocks.block_size if self.blocks else 1)
        rows = max(most // max(math.prod(shape[1:]), 1) // step, 1) * step
        for start in range(0, shape[0], rows):
            stop = min(start + rows, shape[0])
            yield slice(start, stop), self.cut(0, start, stop)

    def cut(self, axis: int, start: int, stop: int) -> Encoding:
        """The encoding of `start:stop` of the tensor's `axis`; exact, because every value keeps its scale.

        Args:
            axis: >= 0. Along the channel axis the scales are cut; along the other axis of an LPBQ weight, its blocks.

        Raises:
            QuantizationError: the cut goes through a block.
        """
        if self.axis is None:
            return self
        if axis == self.axis:
            blocks = self.blocks and replace(self.blocks, int_scale=self.blocks.int_scale[:, start:stop])
            return replace(self, scale=self.scale[start:stop], offset=self.offset[start:stop], blocks=blocks)
        if self.blocks is None:
            return self
        size = self.blocks.block_size
        if start % size or stop % size:
            raise QuantizationError(f"inputs {start}:{stop} cut through blocks of {size}")
        rows = self.blocks.int_scale[start // size : stop // size]
        return replace(self, blocks=replace(self.blocks, int_scale=rows))

    @classmethod
    def joined(cls, parts: Sequence[Encoding], axis: int) -> Encoding:
        """The inverse of `cut`: the encoding of tensors that are concatenated along `axis`.

        Raises:
            QuantizationError: along any other axis than the channels', all parts must have the same scales.
        """
        first = parts[0]
        if axis == first.axis:
            scale = np.concatenate([part.scale for part in parts])
            offset = np.concatenate([part.offset for part in parts])
        elif all(np.array_equal(part.scale, first.scale) for part in parts):
            scale, offset = first.scale, first.offset
        else:
            raise QuantizationError(f"tensors of different scales cannot be joined along axis {axis}")
        blocks = first.blocks
        if blocks is not None:
            found = [part.blocks.int_scale for part in parts if part.blocks is not None]
            blocks = replace(blocks, int_scale=np.concatenate(found, axis))
        return replace(first, scale=scale, offset=offset, blocks=blocks)

    def same_grid(self, other: Encoding) -> bool:
        """Both represent the same values."""
        if (self.bitwidth, self.axis) != (other.bitwidth, other.axis):
            return False
        if (self.blocks is None) != (other.blocks is None):
            return False
        if self.blocks is not None and other.blocks is not None:
            same_size = self.blocks.block_size == other.blocks.block_size
            if not (same_size and np.array_equal(self.blocks.int_scale, other.blocks.int_scale)):
                return False
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.offset, other.offset)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """
        Raises:
            QuantizationError: the encoding does not fit a tensor of `shape`.
        """
        if self.axis is None:
            fits = len(self.scale) == 1
        else:
            fits = self.axis < len(shape) and shape[self.axis] == len(self.scale)
        if self.blocks is not None:
            size = self.blocks.block_size
            fits = fits and len(shape) == 2 and self.blocks.int_scale.shape == (shape[0] / size, shape[1])
        if not fits:
            raise QuantizationError(
                f"an encoding with {len(self.scale)} scales on axis {self.axis}"
                + (f" and blocks {list(self.blocks.int_scale.shape)}" if self.blocks is not None else "")
                + f" does not fit the shape {list(shape)}"
            )

    def _broadcast_shape(self, rank: int) -> tuple[int, ...]:
        if self.axis is None:
            return (1,) * rank
        return tuple(-1 if dimension == self.axis else 1 for dimension in range(rank))


def range_encoding(low: float, high: float, bitwidth: int, *, symmetric: bool = False) -> Encoding:
    """The per-tensor grid of values from `low` to `high`; it always contains 0 exactly.

    Symmetric: `scale = max(|low|, |high|) / (2^(bitwidth - 1) - 1)`, offset -2^(bitwidth - 1).
    """
    if symmetric:
        scale = max(abs(low), abs(high)) / ((1 << bitwidth - 1) - 1)
        offset = -(1 << bitwidth - 1)
        return per_tensor(max(scale, SMALLEST_SCALE), offset, bitwidth, symmetric=True)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / ((1 << bitwidth) - 1), SMALLEST_SCALE)
    return per_tensor(scale, round(low / scale), bitwidth, symmetric=False)


def per_tensor(scale: float, offset: int, bitwidth: int, *, symmetric: bool) -> Encoding:
    """One scale and offset for the whole tensor."""
    return Encoding(bitwidth, symmetric, np.array([scale], np.float32), np.array([offset], np.int64))


def symmetric_channels(scale: Floats, bitwidth: int, axis: int, blocks: BlockScales | None = None) -> Encoding:
    """A weight's encoding, one scale per channel of `axis`; LPBQ with `blocks`."""
    offset = np.full(len(scale), -(1 << bitwidth - 1), np.int64)
    return Encoding(bitwidth, True, np.asarray(scale, np.float32), offset, axis, blocks)


@dataclass
class Encodings:
    """All encodings of a graph, by tensor name: `activations` (graph tensors) and `params` (initializers)."""

    activations: dict[str, Encoding] = field(default_factory=dict)
    params: dict[str, Encoding] = field(default_factory=dict)

    def subset(self, names: Collection[str]) -> Encodings:
        """Those of the tensors in `names`, in this object's order; names without an encoding are ignored."""
        kept = set(names)
        return Encodings(
            {name: encoding for name, encoding in self.activations.items() if name in kept},
            {name: encoding for name, encoding in self.params.items() if name in kept},
        )
