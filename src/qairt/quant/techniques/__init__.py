"""Techniques: how the grid of a decoder layer's linear is chosen. One file each.

A new one is a file with a class like these, a name in `qairt.quant.config.Technique` with its settings, a line in
`technique` below, and a recipe in `recipes/quantization`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding

if TYPE_CHECKING:
    from torch import Tensor


class WeightTechnique(Protocol):
    """Chooses the grids of one layer's linears after the calibration text ran through it."""

    needs_energy: bool
    """Wants to know how much each input matters (`qairt.quant.energy`)."""

    def encode(self, name: str, weight: Tensor, energy: Tensor | None) -> Encoding:
        """The encoding of `weight` [in, out], channels on axis 1.

        Args:
            energy: [in], mean 1; None where it was not asked for.

        Raises:
            QuantizationError: it cannot be put on such a grid; names the weight.
        """


def technique(config: TechniqueConfig) -> WeightTechnique:
    """The technique that `config` names, with its settings."""
    if config.technique == "lpbq":
        from qairt.quant.techniques.lpbq import Lpbq

        return Lpbq(config)
    from qairt.quant.techniques.minmax import MinMax

    return MinMax(config)
