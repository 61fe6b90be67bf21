"""What an embedding model's graph holds instead of reading it: it depends on a token's row alone.

Attention reads the distance of two positions, so the first row may be position 0 on whichever side the padding is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qairt.model.config import DecoderConfig
from qairt.model.inputs import BAND, masks
from qairt.model.masks import mask_of
from qairt.model.rope import rotary_inputs


def row_constants(config: DecoderConfig, ar: int, mask_floor: float) -> dict[str, NDArray[np.float32]]:
    """Cosines, sines [1, 1, AR, rotated / 2] and the band of windows [1, 1, AR, AR], by the names of the inputs that
    they replace.

    Args:
        mask_floor: what the band adds to a masked score.
    """
    tables = rotary_inputs(config, np.arange(ar), length=ar)
    made = {name: np.ascontiguousarray(table[None, None], np.float32) for name, table in tables.items()}
    if BAND in masks(config):
        made[BAND] = mask_of(config, BAND, ar=ar, cl=ar, past=0, new=ar, floor=mask_floor)
    return made
