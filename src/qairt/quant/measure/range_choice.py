"""The range of a tensor from the histogram of its values (`qairt.quant.measure.histogram`).

1. Percentile: the given share of outermost values is clipped on each side. The limit is the outer edge of a bin, so
   never more than that are clipped.
2. Least squares, over pairs of limits. With a step of D, a value nearer to 0 than D / 2 becomes 0 and one beyond a
   limit becomes the limit: these errors are summed bin by bin. All others have an average squared error of D^2 / 12.
3. No range is narrower than the values that must not be clipped, nor wider than the values seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qairt.quant.measure.histogram import PER_BINADE, edges

Range = tuple[float, float]
Counts = NDArray[np.int64]

SEARCHED_BINADES = 6
"""Least squares tries limits down to a 64th of the extremes."""
PAIR_STEP = 4
"""Bins between the limits that are tried in pairs: at most 4 % apart."""

_EDGES = edges()
_CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2


def percentile_range(counts: Counts, percent: float, *, seen: Range, kept: Range, symmetric: bool) -> Range:
    """Rule 1.

    Args:
        counts: [2, BINS], positive and negative values.
        percent: of the values on each side, or of their magnitudes if `symmetric`, that the range covers.
        seen: smallest and largest value, including 0.
        kept: range that must not be clipped, including 0; within `seen`.
        symmetric: return -limit, limit for a symmetric grid.
    """
    allowed = counts.sum() * (1 - percent / 100)
    if symmetric:
        largest, needed = max(seen[1], -seen[0]), max(kept[1], -kept[0])
        limit = min(max(_limit(counts.sum(0), allowed), needed), largest)
        return -limit, limit
    high, low = (_limit(side, allowed) for side in counts)
    return max(min(-low, kept[0]), seen[0]), min(max(high, kept[1]), seen[1])


def least_squares_range(counts: Counts, bitwidth: int, *, seen: Range, kept: Range, symmetric: bool) -> Range:
    """Rule 2; arguments as for `percentile_range`, and the bits of the grid."""
    if symmetric:
        largest, needed = max(seen[1], -seen[0]), max(kept[1], -kept[0])
        limits = _candidates(largest, needed, 1)
        steps = limits / ((1 << bitwidth - 1) - 1)
        merged = counts.sum(0)
        error, clipped = _clipping(merged, limits)
        best = float(limits[np.argmin(error + _rounding(merged, steps, clipped))])
        return -best, best
    positive, negative = counts
    highs, lows = (_candidates(seen[1], kept[1], PAIR_STEP), _candidates(-seen[0], -kept[0], PAIR_STEP))
    error_high, clipped_high = _clipping(positive, highs)
    error_low, clipped_low = _clipping(negative, lows)
    steps = (lows[:, None] + highs) / ((1 << bitwidth) - 1)
    clipping = error_low[:, None] + error_high
    rounding = _rounding(positive + negative, steps, clipped_low[:, None] + clipped_high)
    low, high = np.unravel_index(np.argmin(clipping + rounding), steps.shape)
    return -float(lows[low]), float(highs[high])


def _limit(side: NDArray[np.int64], allowed: float) -> float:
    """The smallest bin edge beyond which at most `allowed` values lie; 0 if all may be clipped."""
    beyond = side[::-1].cumsum()
    place = int(np.searchsorted(beyond, allowed, side="right"))
    return 0.0 if place == len(side) else float(_EDGES[len(side) - place])


def _candidates(largest: float, needed: float, step: int) -> NDArray[np.float64]:
    """Limits to try, widest first: `largest`, and edges below it, none less than `needed`."""
    first = int(np.searchsorted(_EDGES, largest)) - 1
    below = _EDGES[max(first - SEARCHED_BINADES * PER_BINADE, 0) : max(first, 0) + 1][::-step]
    return np.unique(np.maximum(np.append(below[below < largest], largest), needed))[::-1]


def _clipping(side: NDArray[np.int64], limits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared error of the values beyond each limit, and their number."""
    place = np.searchsorted(_EDGES[:-1], limits)  # bins from here on lie beyond the limit
    number, total, squares = (_outside(side * _CENTRES**power)[place] for power in range(3))
    return np.maximum(squares - 2 * limits * total + limits**2 * number, 0.0), number


def _rounding(
    counts: NDArray[np.int64], steps: NDArray[np.float64], clipped: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared error of the values within the limits, by the grid's step."""
    zeros = np.searchsorted(_CENTRES, steps / 2)
    number = np.append(0.0, np.cumsum(counts, dtype=np.float64))
    squares = np.append(0.0, np.cumsum(counts * _CENTRES**2))
    larger = np.maximum(number[-1] - number[zeros] - clipped, 0.0)
    return np.asarray(squares[zeros] + steps**2 / 12 * larger)


def _outside(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums from each bin to the last, and 0 after the last [BINS + 1]."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
