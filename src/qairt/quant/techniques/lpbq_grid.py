"""The grid of low-power block quantization, and how far a search looks around on it."""

from __future__ import annotations

from torch import Tensor

LOWEST, HIGHEST = -8, 7
"""The integers of 4 bits."""
LARGEST_INT_SCALE = 16
SMALLEST_RATIO = 0.55
"""Of the scale that clips nothing; clipping more never paid on a real model."""
CHANNEL_RATIOS = (1.0, 0.95, 0.9)
"""Of the channel scale that fits its largest block."""


def nearest(values: Tensor, scale: Tensor) -> Tensor:
    """The values of the 4-bit grid nearest to `values`."""
    return (values / scale).round_().clamp_(LOWEST, HIGHEST).mul_(scale)
