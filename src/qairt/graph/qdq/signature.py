"""What a quantized part takes and gives, in the words of a runtime."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.quant.encodings import Encodings

_NAME = re.compile(r"ar(\d+)[-_]cl(\d+)_(\d+)_of_(\d+)")


def signature_of(model: ir.Model, encodings: Encodings, *, ar: int | None = None) -> GraphSignature:
    """Inputs and outputs of a quantized part, in order, each integer tensor with its grid.

    Args:
        model: from `qairt.graph.qdq.quantize.quantize_graph`; its graph's name gives AR, CL and part, such as
            `ar1-cl512_2_of_4`.
        encodings: the ones it was quantized with.
        ar: what the name must say, when given.

    Raises:
        GraphError: the name says something else, or an input or output has no fixed shape.
    """
    name = str(model.graph.name)
    match = _NAME.search(name)
    if match is None or (ar is not None and int(match[1]) != ar):
        wanted = f"ar{ar}-cl…_…_of_…" if ar is not None else "ar…-cl…_…_of_…"
        raise GraphError(f"the graph's name should say {wanted}", where=name, remedy="name it when cutting the part")

    def spec(value: ir.Value) -> TensorSpec:
        if value.shape is None or value.dtype is None or not value.shape.is_static():
            raise GraphError("has no fixed shape", where=str(value.name), remedy="bind AR and CL first")
        grid = encodings.activations.get(str(value.name))
        if not value.dtype.is_integer() or value.dtype == ir.DataType.INT32:
            grid = None
        return TensorSpec(
            name=str(value.name),
            dtype=value.dtype.numpy().name,
            shape=tuple(value.shape.numpy()),
            scale=None if grid is None else float(np.float32(grid.scale[0])),
            offset=None if grid is None else int(grid.offset[0]),
        )

    return GraphSignature(
        name=name,
        ar=int(match[1]),
        cl=int(match[2]),
        part=int(match[3]),
        of=int(match[4]),
        inputs=tuple(spec(value) for value in model.graph.inputs),
        outputs=tuple(spec(value) for value in model.graph.outputs),
    )
