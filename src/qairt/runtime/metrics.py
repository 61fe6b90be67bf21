"""Measures of how close two runs are."""

from __future__ import annotations

import numpy as np

from qairt.runtime.stored import Floats


def sqnr_db(reference: Floats, measured: Floats) -> float:
    """Signal to noise ratio in dB: 10 log10(|reference|^2 / |reference - measured|^2); infinite where they are equal.

    Args:
        reference, measured: of one shape.
    """
    signal = np.square(reference, dtype=np.float64).sum()
    noise = np.square(np.subtract(reference, measured, dtype=np.float64)).sum()
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
