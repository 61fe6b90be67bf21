"""The quantized decoder simulated in float: every tensor rounded to its grid where the graph would round it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.model.reference import Reference, TorchOps
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.structure import MASK


class SimulatedOps(TorchOps):
    """`TorchOps` on weights and tensors that are rounded to their grids; what has no encoding stays float."""

    def __init__(self, parameters: Parameters, encodings: Encodings) -> None:
        super().__init__(parameters)
        self.encodings = encodings

    def weight(self, name: str) -> Tensor:
        if name not in self._weights:
            values, encoding = self.parameters.read(name), self.encodings.params.get(name)
            self._weights[name] = torch.from_numpy(values if encoding is None else encoding.nearest(values))
        return self._weights[name]

    def _named(self, name: str, value: Tensor) -> Tensor:
        encoding = self.encodings.activations.get(name)
        return super()._named(name, value if encoding is None else rounded(value, encoding))


class Simulated(Reference):
    """The reference decoder with everything rounded as the quantized graph rounds it.

    Args:
        encodings: all of them, or those whose effect is wanted (`Encodings(params=…)` for weights alone).
    """

    def __init__(self, parameters: Parameters, encodings: Encodings, keep_weights: bool = False) -> None:
        super().__init__(parameters, keep_weights)
        self._ops = SimulatedOps(parameters, encodings)
        self._mask = encodings.activations.get(MASK)

    def causal_mask(self, count: int, past: int = 0, masked: float | None = None) -> Tensor:
        if self._mask is not None and masked is None:
            masked = float(self._mask.minimum[0])
        return super().causal_mask(count, past) if masked is None else super().causal_mask(count, past, masked)


def rounded(value: Tensor, encoding: Encoding) -> Tensor:
    """The nearest values of a per-tensor grid."""
    scale, offset = float(encoding.scale[0]), int(encoding.offset[0])
    return (value / scale).round_().clamp_(offset, encoding.highest + offset).mul_(scale)


def perplexity(model: Reference, chunks: Sequence[NDArray[np.integer]]) -> float:
    """exp of the mean negative log-likelihood of tokens 2 … of each chunk."""
    total, count = 0.0, 0
    for chunk in chunks:
        log_probabilities = model.logits(chunk[:-1]).log_softmax(-1)
        targets = torch.from_numpy(np.asarray(chunk[1:], np.int64))
        total -= float(log_probabilities.gather(1, targets[:, None]).sum())
        count += len(targets)
    return math.exp(total / count)


def signal_to_noise(reference: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """SQNR in dB."""
    noise = float(np.square(np.asarray(reference, np.float64) - other).sum())
    return math.inf if not noise else 10 * math.log10(float(np.square(reference, dtype=np.float64).sum()) / noise)
