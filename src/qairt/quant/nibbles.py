"""Two 4-bit integers in a byte, the first in its low half: as ONNX stores INT4 and UINT4."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SIGNED = np.asarray([*range(8), *range(-8, 0)], np.float32)
_SIGNED_PAIRS = np.stack((np.tile(_SIGNED, 16), np.repeat(_SIGNED, 16)), 1).view(np.int64)[:, 0].copy()
"""The two floats of each byte, as one element."""
_BAND = 1 << 16


def packed(integers: NDArray[np.generic]) -> NDArray[np.uint8]:
    """4-bit integers, signed or unsigned and one in a byte, as [ceil(n / 2)] bytes."""
    flat = integers.reshape(-1).view(np.uint8) & 0x0F
    if len(flat) % 2:
        flat = np.append(flat, np.uint8(0))
    return np.asarray(flat[0::2] | flat[1::2] << 4, np.uint8)


def unpacked(stored: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The integers of `packed`, 0 … 15, one in a byte."""
    count = int(np.prod(shape, dtype=np.int64))
    return np.stack((stored & 0x0F, stored >> 4), 1).reshape(-1)[:count].reshape(shape)


def unpack_signed(stored: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """The integers of `packed`, -8 … 7, as floats.

    Args:
        values: filled, whatever its shape; contiguous.
    """
    flat = values.reshape(-1)
    pairs = flat[: len(flat) // 2 * 2].view(np.int64)
    for start in range(0, len(pairs), _BAND):
        band = pairs[start : start + _BAND]
        np.take(_SIGNED_PAIRS, stored[start : start + len(band)], out=band, mode="clip")
    if len(flat) % 2:
        flat[-1] = _SIGNED_PAIRS.view(np.float32)[2 * int(stored[-1])]
