"""The additive mask of a call. NumPy only; the runtime uses it too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qairt.model.config import DecoderConfig
from qairt.model.inputs import BAND, masks


def mask_of(
    config: DecoderConfig, name: str, *, ar: int, cl: int, past: int, new: int, floor: float
) -> NDArray[np.float32]:
    """The mask that is the input `name` (`qairt.model.inputs.masks`); arguments as `additive_mask`."""
    window = masks(config)[name]
    if name == BAND:
        assert window is not None
        place = np.arange(ar)
        hidden = np.abs(place[:, None] - place) >= window
        return np.where(hidden, floor, 0.0).astype(np.float32)[None, None]
    if config.bidirectional:
        padding = np.arange(ar) < ar - new
        return np.broadcast_to(np.where(padding, floor, 0.0).astype(np.float32), (1, 1, ar, ar)).copy()
    return additive_mask(ar=ar, cl=cl, past=past, new=new, floor=floor, window=window)


def conv_places(config: DecoderConfig, *, ar: int, new: int) -> NDArray[np.float32]:
    """The input `qairt.model.inputs.CONV` of a call whose `new` rightmost tokens are no padding."""
    assert config.convolution is not None
    made = np.zeros((1, ar, config.convolution.length), np.float32)
    made[:, ar - new :, 0] = 1
    for place in range(min(config.convolution.length - 1, new)):
        made[:, ar - new + place, place + 1] = 1
    return made


def slots_before(ar: int, cl: int, window: int | None) -> int:
    """Tokens that the cache of a layer holds before a call of `ar` tokens."""
    return cl - ar if window is None else min(cl - ar, window)


def additive_mask(
    *, ar: int, cl: int, past: int, new: int, floor: float, window: int | None = None
) -> NDArray[np.float32]:
    """[1, 1, AR, slots + AR]: a token attends to the past, itself and the tokens before it in the call.

        column    0 …               slots-1 | slots …           slots+AR-1
        holds     padding, oldest … newest  | (padding,) new tokens

    Args:
        past, new: tokens before this call, and in it; both are at the right of their columns.
        floor: the value of what a token does not attend to.
        window: it attends to so many tokens at most, itself among them.
    """
    slots = slots_before(ar, cl, window)
    row, place = np.arange(ar)[:, None], np.arange(-slots, ar)[None]
    seen = (place <= row) & (place >= ar - new) | ((place < 0) & (place >= -past))
    if window is not None:
        padding = ar - new  # lies between the past and the new tokens
        seen &= np.where(place < 0, place + padding, place) > row - window
    return np.where(seen, 0.0, floor).astype(np.float32)[None, None]
