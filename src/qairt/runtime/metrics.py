"""Measures of how close two runs are."""

from __future__ import annotations

import numpy as np

from qairt.runtime.stored import Floats

MOST_DB = 300.0
"""What equal values are given; float32 cannot be told apart long before."""


def sqnr_db(reference: Floats, measured: Floats) -> float:
    """Signal to quantization noise ratio: `decibel` of |reference|^2 and |reference - measured|^2.

    Args:
        reference, measured: of one shape.
    """
    signal = np.square(reference, dtype=np.float64).sum()
    noise = np.square(np.subtract(reference, measured, dtype=np.float64)).sum()
    return decibel(float(signal), float(noise))


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, kept within ±`MOST_DB`."""
    if noise == 0:
        return MOST_DB
    return float(np.clip(10 * np.log10(signal / noise), -MOST_DB, MOST_DB)) if signal else -MOST_DB
