"""A histogram of values by magnitude that needs no range in advance.

A bin is a 64th of a power of two: the sign, the exponent and the first six bits of the fraction of a float32. Bins do
not depend on the data and counts are integers, so histograms add in any order to the same result, and subtract exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FRACTION_BITS = 6
PER_BINADE = 1 << FRACTION_BITS
LOWEST_EXPONENT, HIGHEST_EXPONENT = -32, 31
"""Smaller values go into the smallest bin, larger ones into the largest."""
BINS = (HIGHEST_EXPONENT - LOWEST_EXPONENT + 1) * PER_BINADE

_SHIFT = 23 - FRACTION_BITS
_CODES = 1 << 32 - _SHIFT
_FIRST = (127 + LOWEST_EXPONENT) * PER_BINADE


def count(values: Tensor) -> Tensor:
    """Values per bin, int64 [2, BINS]: positive and negative ones, from small to large magnitude.

    Args:
        values: float32, of any shape, finite.
    """
    codes = values.contiguous().view(torch.int32).flatten() >> _SHIFT
    signs = torch.bincount(codes.bitwise_and_(_CODES - 1), minlength=_CODES).reshape(2, -1)
    counts = signs[:, _FIRST : _FIRST + BINS].clone()
    counts[:, 0] += signs[:, :_FIRST].sum(1)
    counts[:, -1] += signs[:, _FIRST + BINS :].sum(1)
    return counts


def edges() -> NDArray[np.float64]:
    """The magnitudes between the bins [BINS + 1]: bin i has `edges[i] <= |x| < edges[i + 1]`. The first is 0."""
    exponents = np.repeat(np.arange(LOWEST_EXPONENT, HIGHEST_EXPONENT + 1), PER_BINADE)
    fractions = np.tile(np.arange(PER_BINADE) / PER_BINADE, BINS // PER_BINADE)
    lower = np.ldexp(1 + fractions, exponents)
    lower[0] = 0.0
    return np.append(lower, 2.0 ** (HIGHEST_EXPONENT + 1))
