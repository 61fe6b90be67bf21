"""What a call of a graph reads besides tokens and what layers keep: where its tokens are. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qairt.model.config import DecoderConfig
from qairt.model.inputs import CONV, masks
from qairt.model.masks import conv_places, mask_of
from qairt.model.rope import rotary_inputs


def call_inputs(
    config: DecoderConfig, *, ar: int, cl: int, past: int, new: int, floor: float, length: int
) -> dict[str, NDArray[np.float32]]:
    """Masks, cosines and sines, and places of short convolutions, by the names of `qairt.model.inputs`; shapes as
    `qairt.graph.build.build_decoder`. Padding, before the new tokens, is at position 0.

    Args:
        past, new, floor: as `qairt.model.masks.additive_mask`.
        length: the context length that the rotary embedding adapts to.
    """
    made = {name: mask_of(config, name, ar=ar, cl=cl, past=past, new=new, floor=floor) for name in masks(config)}
    if config.convolution is not None:
        made[CONV] = conv_places(config, ar=ar, new=new)
    positions = np.maximum(np.arange(past + new - ar, past + new), 0)
    tables = rotary_inputs(config, positions, length=length)
    return made | {name: table[None, None] for name, table in tables.items()}
