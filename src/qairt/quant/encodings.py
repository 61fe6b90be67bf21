"""Encodings: how a tensor's real values lie on an integer grid.

AIMET's convention throughout: `real = (q + offset) * scale` with q on the unsigned grid 0 … 2^bitwidth - 1, so
`zero_point = -offset` and a symmetric 8-bit tensor has offset -128. ONNX wants uint storage for activations
(zero_point = -offset) and signed storage with zero point 0 for weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
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
    scale: NDArray[np.float32]
    """[1] per tensor, [channels] per channel and for LPBQ."""
    offset: NDArray[np.int64]
    """The same length as `scale`; <= 0."""
    axis: int | None = None
    """The channel axis of a per-channel or LPBQ encoding (1 for a MatMul weight [in, out]); None per tensor."""
    blocks: BlockScales | None = None
    """Set for LPBQ only."""


@dataclass
class Encodings:
    """All encodings of a graph, by tensor name: `activations` (graph tensors) and `params` (initializers)."""

    activations: dict[str, Encoding] = field(default_factory=dict)
    params: dict[str, Encoding] = field(default_factory=dict)
