"""Keep the first columns of a wide linear: the same form with fewer outputs, to be tried in less time."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.quant.nibbles import unpacked


def narrow(model: ir.Model, width: int, kept: int) -> None:
    """Keep the first `kept` columns of every tensor whose last axis has `width`, in place.

    Args:
        width: of the result of the model's last linear, such as the size of the vocabulary; even, and no other size.
        kept: even.
    """
    graph = model.graph
    for value in graph.initializers.values():
        if _is_wide(value, width):
            tensor = ir.Tensor(_values(value)[..., :kept], dtype=value.dtype, name=value.name)
            value.const_value, value.shape = tensor, tensor.shape
    for value in (*graph.inputs, *(made for node in graph for made in node.outputs)):
        if _is_wide(value, width):
            assert value.shape is not None
            value.shape = ir.Shape([*value.shape[:-1], kept])


def _is_wide(value: ir.Value, width: int) -> bool:
    return value.shape is not None and len(value.shape) > 0 and value.shape[-1] == width


def _values(value: ir.Value) -> NDArray[np.generic]:
    """4-bit integers one per element. Read from the file itself: onnx_ir takes no hard links."""
    tensor, dtype = value.const_value, value.dtype
    assert tensor is not None
    assert dtype is not None
    if not isinstance(tensor, ir.ExternalTensor):
        return np.asarray(tensor.numpy())
    shape = tuple(int(size) for size in tensor.shape.numpy())
    stored = np.memmap(tensor.path, np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
    if dtype.bitwidth >= 8:
        return stored.view(dtype.numpy()).reshape(shape)
    halves = unpacked(stored, shape)
    signed = (halves ^ 8).astype(np.int8) - 8 if dtype == ir.DataType.INT4 else halves
    return np.asarray(signed).astype(dtype.numpy())
