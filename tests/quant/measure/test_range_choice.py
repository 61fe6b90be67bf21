from __future__ import annotations

import numpy as np
import pytest
import torch

from qairt.quant.encodings import range_encoding
from qairt.quant.measure.histogram import count
from qairt.quant.measure.range_choice import Range, least_squares_range, percentile_range


def values(count: int = 20_000, outlier: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    return np.append(drawn, np.float32(outlier))


def counts_of(drawn: np.ndarray) -> np.ndarray:
    return count(torch.from_numpy(drawn)).numpy()


def extremes(drawn: np.ndarray) -> Range:
    return min(float(drawn.min()), 0.0), max(float(drawn.max()), 0.0)


NOTHING = (0.0, 0.0)


def squared_error(drawn: np.ndarray, limits: Range, bitwidth: int, *, symmetric: bool) -> float:
    grid = range_encoding(*limits, bitwidth, symmetric=symmetric)
    return float(np.square(grid.nearest(drawn).astype(np.float64) - drawn).sum())


@pytest.mark.parametrize("percent", [99.0, 99.9])
def test_a_percentile_clips_no_more_than_asked_and_hardly_less(percent: float) -> None:
    drawn = values()
    low, high = percentile_range(counts_of(drawn), percent, seen=extremes(drawn), kept=NOTHING, symmetric=False)
    for found, exact in ((high, np.quantile(drawn, percent / 100)), (low, np.quantile(drawn, 1 - percent / 100))):
        assert abs(exact) * 0.999 <= abs(found) <= abs(exact) * 1.03
    symmetric = percentile_range(counts_of(drawn), percent, seen=extremes(drawn), kept=NOTHING, symmetric=True)
    exact = np.quantile(np.abs(drawn), percent / 100)
    assert symmetric[0] == -symmetric[1]
    assert exact * 0.999 <= symmetric[1] <= exact * 1.03


def test_all_percent_are_the_extremes() -> None:
    drawn = values()
    seen = extremes(drawn)
    assert percentile_range(counts_of(drawn), 100, seen=seen, kept=NOTHING, symmetric=False) == seen


def test_values_of_one_sign_keep_zero() -> None:
    drawn = np.abs(values()) + 1
    seen = extremes(drawn)
    low, high = percentile_range(counts_of(drawn), 99, seen=seen, kept=NOTHING, symmetric=False)
    assert low == 0
    assert 3 < high < seen[1]
    assert least_squares_range(counts_of(drawn), 8, seen=seen, kept=NOTHING, symmetric=False)[0] == 0


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("outlier", [0.0, 40.0])
@pytest.mark.parametrize("bitwidth", [4, 8])
def test_least_squares_is_near_the_best_range_there_is(bitwidth: int, outlier: float, symmetric: bool) -> None:
    """Against the true errors of a search over limits."""
    drawn = values(outlier=outlier)
    seen = extremes(drawn)
    found = least_squares_range(counts_of(drawn), bitwidth, seen=seen, kept=NOTHING, symmetric=symmetric)
    tried = [
        (ratio * seen[0], high * seen[1]) for ratio in np.geomspace(1, 0.3, 12) for high in np.geomspace(1, 0.03, 40)
    ]
    if symmetric:
        largest = max(seen[1], -seen[0])
        tried = [(-ratio * largest, ratio * largest) for ratio in np.geomspace(1, 0.03, 200)]
    errors = [squared_error(drawn, limits, bitwidth, symmetric=symmetric) for limits in tried]
    assert squared_error(drawn, found, bitwidth, symmetric=symmetric) <= 1.03 * min(errors)
    assert squared_error(drawn, found, bitwidth, symmetric=symmetric) <= squared_error(
        drawn, seen, bitwidth, symmetric=symmetric
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_must_be_kept_is_kept(symmetric: bool) -> None:
    drawn = values(outlier=40.0)
    counts, seen, kept = counts_of(drawn), (-60.0, 41.0), (-50.0, 2.0)
    for low, high in (
        percentile_range(counts, 99, seen=seen, kept=kept, symmetric=symmetric),
        least_squares_range(counts, 4, seen=seen, kept=kept, symmetric=symmetric),
    ):
        assert low == -50.0
        assert high == 50.0 if symmetric else 2.0 <= high < 10.0


def test_nothing_but_zeros() -> None:
    counts = counts_of(np.zeros(5, np.float32))
    for symmetric in (False, True):
        assert least_squares_range(counts, 8, seen=NOTHING, kept=NOTHING, symmetric=symmetric) == NOTHING
        assert percentile_range(counts, 99, seen=NOTHING, kept=NOTHING, symmetric=symmetric) == NOTHING
