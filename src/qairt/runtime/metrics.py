"""Measures of the difference between two runs."""

from __future__ import annotations

import numpy as np

from qairt.runtime.stored import Floats

MAX_DB = 300.0
"""The value for equal arrays; float32 differences disappear long before."""


def sqnr_db(reference: Floats, measured: Floats) -> float:
    """Signal to quantization noise ratio: `decibel` of |reference|^2 and |reference - measured|^2.

    Args:
        reference, measured: of one shape.
    """
    signal = np.square(reference, dtype=np.float64).sum()
    noise = np.square(np.subtract(reference, measured, dtype=np.float64)).sum()
    return decibel(float(signal), float(noise))


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two energies, kept within ±`MAX_DB`."""
    if noise == 0:
        return MAX_DB
    return float(np.clip(10 * np.log10(signal / noise), -MAX_DB, MAX_DB)) if signal else -MAX_DB


def cosine(one: Floats, other: Floats) -> float:
    """Of the angle between two vectors; 0 if either has no length."""
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else 0.0
