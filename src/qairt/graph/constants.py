"""Constants inside a graph."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import numpy as np
import onnx_ir as ir


def integer_constant(initializers: MutableMapping[str, ir.Value], values: Sequence[int]) -> ir.Value:
    """An int64 initializer named after its values; equal lists share one."""
    name = "const_" + "_".join(str(value).replace("-", "m") for value in values)
    if name not in initializers:
        initializers[name] = integer_initializer(name, values)
    return initializers[name]


def integer_initializer(name: str, values: Sequence[int]) -> ir.Value:
    """An int64 initializer, not yet in a graph."""
    tensor = ir.tensor(np.array(values, np.int64), name=name)
    return ir.Value(name=name, const_value=tensor, shape=ir.Shape([len(values)]), type=ir.TensorType(tensor.dtype))
