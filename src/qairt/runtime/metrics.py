"""Measures of the difference between two runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qairt.runtime.stored import Floats

MAX_DB = 300.0
"""The value for equal arrays; float32 differences disappear long before."""


def sqnr_db(reference: Floats, measured: Floats) -> float:
    """Signal to quantization noise ratio: `decibel` of |reference|^2 and |reference - measured|^2.

    Args:
        reference, measured: of one shape.
    """
    import numpy as np

    signal = np.square(reference, dtype=np.float64).sum()
    noise = np.square(np.subtract(reference, measured, dtype=np.float64)).sum()
    return decibel(float(signal), float(noise))


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, kept within ±`MAX_DB`."""
    if noise == 0:
        return MAX_DB
    ratio = signal / noise
    return min(max(10 * math.log10(ratio), -MAX_DB), MAX_DB) if ratio else -MAX_DB


def cosine(one: Floats, other: Floats) -> float:
    """Of the angle between two vectors; 0 if either has no length."""
    import numpy as np

    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else 0.0
