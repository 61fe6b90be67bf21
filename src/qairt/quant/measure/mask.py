"""What is added to the score of a position that may not be seen.

Too high, and masked tokens leak into the result; too low, and it spoils the 16-bit grid that masked scores share with
it.
So: the value usual for the family, lower where the scores of this model need it.
"""

from __future__ import annotations

from math import ceil

from qairt.model.config import DecoderConfig

MARGIN = 20.0
"""How far a masked score must stay below those that count: e^-20 of their weight."""


def usual_floor(config: DecoderConfig) -> float:
    """By family: Qwen2's keys have large biases, and its scores spread over hundreds."""
    return -1000.0 if config.family == "qwen2" else -50.0


def mask_floor(config: DecoderConfig, asked: float | None, excess: float) -> tuple[float, list[str]]:
    """The floor to use, and what a user should know about it.

    Args:
        asked: the recipe's; None for the family's, or lower.
        excess: the most by which a score that may not be seen was larger than all those that may.
    """
    needed = -10.0 * ceil((excess + MARGIN) / 10)
    if asked is None:
        usual = usual_floor(config)
        if needed >= usual:
            return usual, []
        return needed, [f"mask_floor is {needed:g}, not {usual:g}: this model's scores need it"]
    if -asked < excess + MARGIN:
        return asked, [f"mask_floor {asked:g} lets masked tokens leak: this model's scores need {needed:g} or less"]
    return asked, []
