"""Orthogonal matrices of any size: every value spread over all channels, the same matrix on every machine."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from dense_rotation import dense

from qairt.model.rotation_matrix import RotationMatrix

HADAMARD = [2, 12, 16, 20, 24, 28, 36, 44, 60, 64, 84, 96, 128, 576, 896, 960, 1024, 1536]
"""28 by the first construction of Paley, 36 by the second; 576 = 12 * 12 * 4; 960 = 12 * 20 * 4."""
OTHERS = [1, 3, 5, 7, 18, 50, 52, 100]


@pytest.mark.parametrize("size", HADAMARD + OTHERS)
def test_orthogonal(size: int) -> None:
    matrix = dense(RotationMatrix(size, 3))
    assert matrix.shape == (size, size)
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)


@pytest.mark.parametrize("size", HADAMARD)
def test_hadamard_entries_are_all_of_one_size(size: int) -> None:
    np.testing.assert_allclose(np.abs(dense(RotationMatrix(size, 0))), 1 / sqrt(size), rtol=1e-12)


@pytest.mark.parametrize("size", OTHERS)
def test_no_entry_is_large(size: int) -> None:
    assert np.abs(dense(RotationMatrix(size, 0))).max() <= sqrt(2 / size) * (1 + 1e-12)


@pytest.mark.parametrize("size", [1, 3, 12, 64, 100, 576, 960])
def test_apply_is_the_product_with_the_matrix(size: int) -> None:
    random = np.random.default_rng(0)
    rows, scale = random.normal(size=(7, size)).astype(np.float32), random.normal(size=size).astype(np.float32)
    matrix = RotationMatrix(size, 1)
    turned = matrix.apply(rows)
    assert turned.dtype == np.float32
    np.testing.assert_allclose(turned, rows @ dense(matrix), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(matrix.apply(rows, scale), (rows * scale) @ dense(matrix), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(matrix.apply(rows[2]), turned[2])


def test_wider_rows_are_turned_in_pieces() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 48)).astype(np.float32)
    matrix = RotationMatrix(16, 0)
    pieces = [matrix.apply(rows[:, start : start + 16]) for start in (0, 16, 32)]
    np.testing.assert_array_equal(matrix.apply(rows), np.concatenate(pieces, 1))


def test_a_spike_is_spread_and_a_constant_is_not_gathered() -> None:
    spike = np.zeros((1, 576), np.float32)
    spike[0, 17] = 24_000
    matrix = RotationMatrix(576, 0)
    np.testing.assert_allclose(np.abs(matrix.apply(spike)), 1000, rtol=1e-6)
    assert np.abs(matrix.apply(np.ones((1, 576), np.float32))).max() < 5


def test_a_seed_is_one_matrix_everywhere() -> None:
    """Written down: a change of the construction would turn finished runs into nonsense."""
    signs = dense(RotationMatrix(12, 0)) > 0
    rows = ["".join("-+"[int(positive)] for positive in row) for row in signs]
    assert rows == [
        "------------",
        "-+-+---+++-+",
        "-++-+---+++-",
        "--++-+---+++",
        "+-+--+-+++--",
        "+--+--+-+++-",
        "+---+--+-+++",
        "++---+--+-++",
        "+++---+--+-+",
        "++++---+--+-",
        "+-+++---+--+",
        "--+---+++-++",
    ]
    assert np.array_equal(dense(RotationMatrix(576, 5)), dense(RotationMatrix(576, 5)))
    assert not np.array_equal(dense(RotationMatrix(576, 5)), dense(RotationMatrix(576, 6)))
