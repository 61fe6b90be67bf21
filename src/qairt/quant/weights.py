"""Encodings of the weights that no technique chooses: embedding, lm_head, norms and biases.

1. lm_head: 8 bits, symmetric, per channel, from its largest weight.
2. Embedding: per tensor, for the NPU's Gather knows no channels; clipped where that lowers the squared error.
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
SMALLEST_RATIO = 0.2
SAMPLE_ROWS = 4096
"""Rows of the embedding that the search looks at, evenly spread; all are within its range."""


def norm_encoding(weight: Tensor, bitwidth: int) -> Encoding:
    """weight [channels]."""
    low, high = weight.aminmax()
    return range_encoding(float(low), float(high), bitwidth)


def bias_encoding(bias: Tensor, bitwidth: int = 32) -> Encoding:
    """bias [channels]."""
    return range_encoding(float(bias.min()), float(bias.max()), bitwidth, symmetric=True)


class EmbeddingSearch:
    """The symmetric per-tensor grid of an embedding with the least squared error; it is seen some tokens at a time."""

    def __init__(self, vocab_size: int) -> None:
        self._step = max(vocab_size // SAMPLE_ROWS, 1)
        self._largest = 0.0
        self._sample: list[Tensor] = []

    def look(self, start: int, rows: Tensor) -> None:
        """Take rows [tokens, hidden], the first of token `start`, into account."""
        low, high = rows.aminmax()
        self._largest = max(self._largest, float(high), -float(low))
        self._sample.append(rows[-start % self._step :: self._step].clone())

    @torch.inference_mode()
    def encoding(self, bitwidth: int) -> Encoding:
        """Of the rows that were seen."""
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
    """lm_head's channels, each to its largest weight; it is seen some tokens at a time."""

    def __init__(self, bitwidth: int) -> None:
        self._bitwidth = bitwidth
        self._scales: list[NDArray[np.float32]] = []

    def look(self, start: int, columns: Tensor) -> None:
        """Take columns [hidden, tokens] into account; they come in order."""
        self._scales.append(largest_weight_encoding(columns, self._bitwidth).scale)

    def encoding(self) -> Encoding:
        """Of the columns that were seen."""
        return symmetric_channels(np.concatenate(self._scales), self._bitwidth, axis=1)
