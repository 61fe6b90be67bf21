"""The value that the additive mask has at masked positions.

If it is too high, masked tokens leak into the result; if too low, it wastes the 16-bit grid that masked scores share
with it. So: the usual value of the family, or lower if the model's scores need it.
"""

from __future__ import annotations

from math import ceil

from qairt.model.config import DecoderConfig
from qairt.model.families import FAMILIES

MARGIN = 20.0
"""How far masked scores must stay below the others: their weight is then e^-20."""


def usual_floor(config: DecoderConfig) -> float:
    """The usual value of the family. Qwen2's keys have large biases, so its scores range over hundreds."""
    return FAMILIES[config.family].mask_floor


def mask_floor(config: DecoderConfig, requested: float | None, excess: float) -> tuple[float, list[str]]:
    """The floor to use, and notes for the user.

    Args:
        requested: the recipe's value; None for the family's, or lower if needed.
        excess: the maximum by which a masked score exceeded all others of its row.
    """
    needed = -10.0 * ceil((excess + MARGIN) / 10)
    if requested is None:
        usual = usual_floor(config)
        if needed >= usual:
            return usual, []
        return needed, [f"mask_floor is {needed:g} instead of {usual:g}, because of this model's scores"]
    if -requested < excess + MARGIN:
        return requested, [f"mask_floor {requested:g} lets masked tokens leak: this model needs {needed:g} or less"]
    return requested, []
