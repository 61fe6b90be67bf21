"""Low-power block quantization: 4-bit weights, a scale per block of inputs and output channel.

    scale[b, o] = int_scale[b, o] * channel_scale[o],   int_scale in 1 … 16

The NPU holds nothing finer, so the integers are chosen where they are used, on this grid:

1. `ideal[b, o]`: the scale a block would want by itself. `rtn`: its largest weight becomes the largest integer. `mse`,
   `seqmse`: of ratios of that, the one with the least error: of the weights (`weight_error`), each counted by how much
   its input matters, or of the linear's output (`output_error`).
2. `channel_scale[o]`: a 16th of the channel's largest `ideal`; a search also tries a little less, which gives the
   smaller blocks a finer choice.
3. `int_scale`: `rtn`: the nearest integer; a search takes the better one of the two around `ideal / channel_scale`.

What is put on the grid are the nearest values, or with `gptq` those that make good each other's error (`compensation`).

Source: AIMET's LPBQ, which rounds block scales after its search; here the search sees the rounding.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import BlockScales, symmetric_channels
from qairt.quant.gram import Gram
from qairt.quant.techniques import Chosen, Needs
from qairt.quant.techniques.compensation import compensated, wanted
from qairt.quant.techniques.learned import OnGrid
from qairt.quant.techniques.output_error import output_error_scales
from qairt.quant.techniques.weight_error import block_scales


class Lpbq:
    """See the module."""

    def __init__(self, config: TechniqueConfig) -> None:
        self._config = config
        self.needs: Needs = "weights"
        if config.uses_inputs:
            self.needs = "inputs"
        elif config.scale_search == "mse" and config.importance == "energy":
            self.needs = "energy"

    @torch.inference_mode()
    def choose(self, name: str, weight: Tensor, *, energy: Tensor | None, gram: Gram | None, pool: Executor) -> Chosen:
        config, size = self._config, self._config.block_size
        if weight.shape[0] % size:
            raise QuantizationError(
                f"block_size {size} does not divide its input width {weight.shape[0]}",
                where=name,
                remedy="use a block size that does, or the minmax technique",
            )
        target = weight
        if gram is not None and config.rounding != "nearest":
            target = gram.target(weight, config.damping)
        if gram is not None and config.scale_search == "seqmse":
            scale, integers = output_error_scales(target, gram.matrix, size, config.candidates, pool)
        else:
            candidates = config.candidates if config.scale_search == "mse" else 0
            scale, integers = block_scales(target, size, candidates, energy)
        blocks = BlockScales(size, integers.cpu().numpy().astype(np.uint8), config.decompressed_bitwidth)
        encoding = symmetric_channels(scale.cpu().numpy(), config.bits, axis=1, blocks=blocks)
        if gram is None or config.rounding == "nearest":
            return Chosen(encoding)
        grid = (integers * scale).repeat_interleave(size, 0)
        values = compensated(target, grid, gram, pool, damping=config.damping, passes=config.passes)
        if config.rounding != "learned":
            return Chosen(encoding, values)
        steps = wanted(target, values, gram, config.damping) / grid
        # A value that coordinate descent had left to look at stays where it is.
        integers_now = values / grid
        return Chosen(encoding, values, OnGrid(steps.clamp(integers_now - 0.49, integers_now + 0.49), grid))
