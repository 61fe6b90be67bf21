"""Techniques: how the grid of a decoder layer's linear is chosen, and what is put on it. One file each.

A new one is a file with a class like these, a name in `qairt.quant.config` with its settings, a line in `technique`
below, and a recipe in `recipes/quantization`.
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
