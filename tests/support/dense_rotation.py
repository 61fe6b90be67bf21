"""Rotation matrices written out, to compare the fast product with."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from qairt.model.rotation_matrix import RotationMatrix, _factors, _signs


def dense(matrix: RotationMatrix) -> NDArray[np.float64]:
    """The matrix itself, [size, size]."""
    return _signs(matrix.size, matrix.seed)[:, None] * reduce(np.kron, _factors(matrix.size), np.ones((1, 1)))
