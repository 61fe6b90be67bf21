"""Encodings of the weights that techniques do not handle: embedding, lm_head, norms and biases.

1. lm_head: 8 bits, symmetric, per channel, from the largest weight.
2. Embedding: per tensor, because the NPU's Gather has no per-channel scales; clipped if that lowers the squared error.
3. RMSNorm: 16 bits, asymmetric, per tensor.
4. Biases: 32 bits, symmetric, per tensor: 2^31 steps to its largest value.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.quant.encodings import SMALLEST_SCALE, Encoding, per_tensor, range_encoding, symmetric_channels
from qairt.quant.grid import nearest
from qairt.quant.techniques.minmax import largest_weight_encoding

RATIOS = 40
"""Clipping ratios tried for the embedding."""
SMALLEST_RATIO = 0.2
SAMPLE_ROWS = 4096
"""Rows of the embedding that the search evaluates, evenly spread; the range covers all rows."""


def norm_encoding(weight: Tensor, bitwidth: int) -> Encoding:
    """weight [channels]."""
    low, high = weight.aminmax()
    return range_encoding(float(low), float(high), bitwidth)


def bias_encoding(bias: Tensor, bitwidth: int = 32) -> Encoding:
    """bias [channels]."""
    return range_encoding(float(bias.min()), float(bias.max()), bitwidth, symmetric=True)


class EmbeddingSearch:
    """The symmetric per-tensor grid of an embedding with the least squared error, a slice of its rows at a time."""

    def __init__(self, vocab_size: int) -> None:
        self._step = max(vocab_size // SAMPLE_ROWS, 1)
        self._largest = 0.0
        self._sample: list[Tensor] = []

    def add(self, start: int, rows: Tensor) -> None:
        """Include rows [tokens, hidden], of which the first is token `start`."""
        low, high = rows.aminmax()
        self._largest = max(self._largest, float(high), -float(low))
        self._sample.append(rows[-start % self._step :: self._step].clone())

    @torch.inference_mode()
    def encoding(self, bitwidth: int) -> Encoding:
        """The encoding for all rows added."""
        highest = (1 << bitwidth - 1) - 1
        rows = torch.cat(self._sample)
        best, least = 1.0, float("inf")
        for ratio in torch.linspace(1.0, SMALLEST_RATIO, RATIOS).tolist():
            scale = max(self._largest * ratio / highest, SMALLEST_SCALE)
            error = float(nearest(rows, scale, -highest - 1, bitwidth).sub_(rows).square_().sum())
            if error < least:
                best, least = ratio, error
        scale = max(self._largest * best / highest, SMALLEST_SCALE)
        return per_tensor(scale, -(1 << bitwidth - 1), bitwidth, symmetric=True)


class HeadSearch:
    """The grid of lm_head from the largest weight of each channel, a slice of its columns at a time."""

    def __init__(self, bitwidth: int) -> None:
        self._bitwidth = bitwidth
        self._scales: list[NDArray[np.float32]] = []

    def add(self, start: int, columns: Tensor) -> None:
        """Append columns [hidden, tokens]; call it in their order."""
        self._scales.append(largest_weight_encoding(columns, self._bitwidth).scale)

    def encoding(self) -> Encoding:
        """The encoding of all columns added."""
        return symmetric_channels(np.concatenate(self._scales), self._bitwidth, axis=1)
