"""Techniques: how the grid and the values of a decoder layer's linear are chosen. One file each.

To add one: a file with a class like these, its name and settings in `qairt.quant.config`, a line in `technique` below,
and a recipe in `recipes/quantization`.
"""

from __future__ import annotations

from qairt.quant.config import TechniqueConfig
from qairt.quant.techniques.base import WeightTechnique


def technique(config: TechniqueConfig) -> WeightTechnique:
    """The technique that `config` names, with its settings."""
    if config.technique == "lpbq":
        from qairt.quant.techniques.lpbq import Lpbq

        return Lpbq(config)
    from qairt.quant.techniques.minmax import MinMax

    return MinMax(config)
