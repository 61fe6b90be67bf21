"""One scale per output channel, from its largest weight; values are the nearest.

With `compensates` the weights are first changed so that they give the float output on inputs of quantized layers.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor

from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, Encoding, symmetric_channels
from qairt.quant.measure.gram import Gram
from qairt.quant.techniques.base import Needs, WeightChoice
from qairt.quant.weight_grid import rounded_weight


class MinMax:
    """See `largest_weight_encoding`."""

    needs: Needs = "weights"

    def __init__(self, config: TechniqueConfig, *, compensates: bool = False) -> None:
        self._bitwidth = config.bits
        self._compensates = compensates

    def choose(
        self,
        name: str,
        weight: Tensor,
        *,
        energy: Tensor | None,
        gram: Gram | None,
        channel: Tensor | None = None,
        pool: Executor,
    ) -> WeightChoice:
        compensates = gram is not None and self._compensates
        target = gram.target(weight) if gram is not None and compensates else weight
        encoding = largest_weight_encoding(target, self._bitwidth)
        if channel is not None:
            encoding = symmetric_channels(channel.cpu().numpy(), self._bitwidth, axis=1)
        if gram is None or not compensates:
            return WeightChoice(encoding)
        values = rounded_weight(target, encoding)
        return WeightChoice(encoding, values, gram.error(weight, values))

    def channel_scale(self, weight: Tensor) -> Tensor:
        return torch.from_numpy(largest_weight_encoding(weight, self._bitwidth).scale).to(weight.device)


def largest_weight_encoding(weight: Tensor, bitwidth: int) -> Encoding:
    """Symmetric, per output channel: the largest weight of a channel becomes 2^(bitwidth - 1) - 1.

    Args:
        weight: [in, out].
    """
    low, high = weight.aminmax(dim=0)
    largest = high.maximum(-low).cpu().numpy()
    scale = np.maximum(largest / np.float32((1 << bitwidth - 1) - 1), np.float32(SMALLEST_SCALE))
    return symmetric_channels(scale.astype(np.float32), bitwidth, axis=1)
