"""Real values and the numbers a graph stores for them: `real = (q + offset) * scale`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qairt.graph.tensors import TensorSpec

Array = NDArray[np.generic]
Floats = NDArray[np.float32]


def to_stored(values: Floats, spec: TensorSpec) -> Array:
    """The nearest numbers on the grid of `spec`, ends clipped; a float tensor is left as it is."""
    if spec.scale is None:
        return np.asarray(values, spec.dtype)
    limits = np.iinfo(spec.dtype)
    grid = np.rint(values / np.float64(spec.scale)) - (spec.offset or 0)
    return np.asarray(np.clip(grid, limits.min, limits.max), spec.dtype)


def to_real(stored: Array, spec: TensorSpec) -> Floats:
    """What stored numbers stand for, float32."""
    if spec.scale is None:
        return np.asarray(stored, np.float32)
    return np.asarray((stored.astype(np.float64) + (spec.offset or 0)) * spec.scale, np.float32)


def smallest(spec: TensorSpec) -> float:
    """The least real value that the grid of a quantized tensor holds."""
    assert spec.scale is not None
    return (int(np.iinfo(spec.dtype).min) + (spec.offset or 0)) * spec.scale
