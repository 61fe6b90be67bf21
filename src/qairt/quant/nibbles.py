"""Two 4-bit integers in a byte, the first in its low half: as ONNX stores INT4 and UINT4."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
