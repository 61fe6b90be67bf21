"""Conversion between real values and stored integers: `real = (q + offset) * scale`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qairt.graph.session import Array as Array
from qairt.graph.tensors import TensorSpec
from qairt.quant.grid import from_steps, to_steps

Floats = NDArray[np.float32]


def to_stored(values: Floats, spec: TensorSpec) -> Array:
    """The nearest integers on the grid of `spec`; a float tensor is left as it is."""
    if spec.scale is None:
        return np.asarray(values, spec.dtype)
    limits, offset = np.iinfo(spec.dtype), spec.offset or 0
    steps = to_steps(values, np.float32(spec.scale), int(limits.min) + offset, limits.bits)
    return np.asarray(steps.astype(np.int64) - offset, spec.dtype)


def to_real(stored: Array, spec: TensorSpec) -> Floats:
    """The real values of stored integers, float32."""
    if spec.scale is None:
        return np.asarray(stored, np.float32)
    return from_steps(stored.astype(np.int64) + (spec.offset or 0), np.float32(spec.scale), np.iinfo(spec.dtype).bits)


def minimum(spec: TensorSpec) -> float:
    """The smallest real value that a quantized tensor can represent."""
    assert spec.scale is not None
    return (int(np.iinfo(spec.dtype).min) + (spec.offset or 0)) * spec.scale
