"""The inputs and outputs of an ONNX file: what its DLC and its context binary are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents

if TYPE_CHECKING:
    import onnx


def onnx_contents(path: Path) -> GraphContents:
    """Read the graph's inputs and outputs, with scale and offset where they are quantized. Reads no weights.

    Raises:
        GraphError: it is not an ONNX file.
    """
    from qairt.graph.files import read

    graph = read(path).graph
    encodings = _encodings(graph)
    return GraphContents(
        name=graph.name,
        inputs=tuple(_spec(value, encodings) for value in graph.input),
        outputs=tuple(_spec(value, encodings) for value in graph.output),
    )


def _spec(value: onnx.ValueInfoProto, encodings: Mapping[str, tuple[float, int]]) -> TensorSpec:
    from onnx import helper

    kind = value.type.tensor_type
    scale, offset = encodings.get(value.name, (None, None))
    return TensorSpec(
        name=value.name,
        dtype=helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        shape=tuple(size.dim_value for size in kind.shape.dim),
        scale=scale,
        offset=offset,
    )


def _encodings(graph: onnx.GraphProto) -> dict[str, tuple[float, int]]:
    """Scale and offset of the inputs that a QuantizeLinear or DequantizeLinear reads, and of the outputs that one
    writes."""
    from onnx import numpy_helper

    inputs, outputs = {value.name for value in graph.input}, {value.name for value in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, tuple[float, int]] = {}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            for name in (inputs & {node.input[0]}) | (outputs & {node.output[0]}):
                scale, zero_point = (numpy_helper.to_array(constants[each]) for each in node.input[1:3])
                found.setdefault(name, (float(scale), -int(zero_point)))
    return found
