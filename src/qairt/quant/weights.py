"""Encodings of the weights that no technique chooses: embedding, lm_head, norms and biases.

1. lm_head: 8 bits, symmetric, per channel, from its largest weight.
2. Embedding: per tensor, for the NPU's Gather knows no channels; clipped where that lowers the squared error.
3. RMSNorm: 16 bits, asymmetric, per tensor.
4. Biases: 32 bits, symmetric, per tensor: 2^31 steps to its largest value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qairt.quant.encodings import SMALLEST_SCALE, Encoding, per_tensor, range_encoding

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


@torch.inference_mode()
def embedding_encoding(weight: Tensor, bitwidth: int) -> Encoding:
    """The symmetric per-tensor grid with the least squared error.

    Args:
        weight: [vocab, hidden].
    """
    low, high = weight.aminmax()
    largest = max(float(high), -float(low))
    highest = (1 << bitwidth - 1) - 1
    rows = weight[:: max(len(weight) // SAMPLE_ROWS, 1)]
    best, least = 1.0, float("inf")
    for ratio in torch.linspace(1.0, SMALLEST_RATIO, RATIOS).tolist():
        scale = max(largest * ratio / highest, SMALLEST_SCALE)
        error = float((rows / scale).round_().clamp_(-highest - 1, highest).mul_(scale).sub_(rows).square_().sum())
        if error < least:
            best, least = ratio, error
    scale = max(largest * best / highest, SMALLEST_SCALE)
    return per_tensor(scale, -(1 << bitwidth - 1), bitwidth, symmetric=True)
