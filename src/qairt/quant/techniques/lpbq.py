"""Low-power block quantization: 4-bit weights, a scale per block of inputs and output channel.

    scale[b, o] = int_scale[b, o] * channel_scale[o],   int_scale in 1 … 16

The NPU has no finer scales, so the search runs on this grid:

1. Scales: `rtn` takes a block's largest weight; `mse` and `seqmse` search for the least squared error: of the weights,
   weighted by how much each input matters, or of the linear's output (`lpbq_grid`).
2. Values: the nearest, or with `gptq` values that compensate each other's error (`compensation`). An input then matters
   as much as the inputs after it leave uncompensated, which is what GPTQ minimizes.
3. Weights that already lie on a symmetric 4-bit grid keep its scales and their integers, unless these are learned
   (`stored_grid`).
4. A weight without calibration inputs (of an expert that no token is given to) has scales by its largest values.

Source: AIMET's LPBQ and SeqMSE, which run the layer for each candidate and round block scales after their search; here
all candidates are evaluated with the Gram matrix, and the search includes the rounding.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import BlockScales, symmetric_channels
from qairt.quant.measure.gram import Gram
from qairt.quant.techniques.base import Needs, WeightChoice
from qairt.quant.techniques.compensation import compensated, ideal_values
from qairt.quant.techniques.learned import OnGrid
from qairt.quant.techniques.lpbq_grid import best_scales, largest_scales, output_cost, weight_cost
from qairt.quant.techniques.stored_grid import fitted_scales, stored_scales
from qairt.quant.weight_grid import rounded_weight


class Lpbq:
    """See the module's docstring."""

    def __init__(self, config: TechniqueConfig) -> None:
        self._config = config
        self.needs: Needs = "weights"
        if config.uses_inputs:
            self.needs = "inputs"
        elif config.scale_search == "mse" and config.importance == "energy":
            self.needs = "energy"

    @torch.inference_mode()
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
        config, size = self._config, self._config.block_size
        if weight.shape[0] % size:
            raise QuantizationError(
                f"block_size {size} does not divide its input width {weight.shape[0]}",
                where=name,
                remedy="use a block size that does, or the minmax technique",
            )
        changes = gram is not None and config.rounding != "nearest"
        stored = stored_scales(weight, size) if config.rounding != "learned" else None
        if stored is not None:
            changes = False
            scale, integers = fitted_scales(weight, stored, channel)
        else:
            target = gram.target(weight) if gram is not None and changes else weight
            scale, integers = self._scales(target, energy, gram, channel, pool)
        blocks = BlockScales(size, integers.cpu().numpy().astype(np.uint8), config.decompressed_bitwidth)
        encoding = symmetric_channels(scale.cpu().numpy(), config.bits, axis=1, blocks=blocks)
        if gram is None:
            return WeightChoice(encoding)
        if not changes:
            values = rounded_weight(weight, encoding)
            return WeightChoice(encoding, values, gram.error_of_blocks(weight, values, size))
        grid = (integers * scale).repeat_interleave(size, 0)
        values = compensated(target, grid, gram, pool, passes=config.passes)
        error = gram.error(weight, values)
        if config.rounding != "learned":
            return WeightChoice(encoding, values, error)
        ideal = ideal_values(target, values, gram) / grid
        # A value that coordinate descent has not revisited keeps its integer.
        steps = values / grid
        return WeightChoice(encoding, values, error, OnGrid(ideal.clamp(steps - 0.49, steps + 0.49), grid))

    def channel_scale(self, weight: Tensor) -> Tensor:
        return largest_scales(weight, self._config.block_size)[0]

    def _scales(
        self, weight: Tensor, energy: Tensor | None, gram: Gram | None, channel: Tensor | None, pool: Executor
    ) -> tuple[Tensor, Tensor]:
        search, size, candidates = self._config.scale_search, self._config.block_size, self._config.candidates
        no_inputs = self.needs != "weights" and energy is None and gram is None
        if search == "rtn" or no_inputs:
            return largest_scales(weight, size, channel)
        if search == "seqmse" and gram is not None:
            return best_scales(weight, size, candidates, output_cost(gram.squares(size)), pool, channel)
        if gram is not None and self._config.importance == "energy":
            energy = gram.unexplained
        return best_scales(weight, size, candidates, weight_cost(energy, size), pool, channel)
