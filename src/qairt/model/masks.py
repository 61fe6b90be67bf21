"""The additive mask of a call. NumPy only; the runtime uses it too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
