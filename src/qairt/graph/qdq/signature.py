"""The inputs and outputs of a quantized part, as a runtime sees them."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.quant.encodings import Encodings

_NAME = re.compile(r"ar(\d+)[-_]cl(\d+)_(\d+)_of_(\d+)")


def signature_of(model: ir.Model, encodings: Encodings, *, ar: int | None = None) -> GraphSignature:
    """Inputs and outputs of a quantized part, in order, integer tensors with scale and offset.

    Args:
        model: from `qairt.graph.qdq.quantize.quantize_graph`; its graph's name has AR, CL and part, such as
            `ar1-cl512_2_of_4`.
        encodings: those it was quantized with.
        ar: the AR that the name must have, if given.

    Raises:
        GraphError: the name differs from that, or an input or output has no fixed shape.
    """
    name = str(model.graph.name)
    match = _NAME.search(name)
    if match is None or (ar is not None and int(match[1]) != ar):
        wanted = f"ar{ar}-cl…_…_of_…" if ar is not None else "ar…-cl…_…_of_…"
        raise GraphError(f"the graph's name should be {wanted}", where=name, remedy="name it when splitting the model")

    def spec(value: ir.Value) -> TensorSpec:
        if value.shape is None or value.dtype is None or not value.shape.is_static():
            raise GraphError("it has no fixed shape", where=str(value.name), remedy="bind AR and CL first")
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
