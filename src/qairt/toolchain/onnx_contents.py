"""The inputs and outputs of an ONNX file: what its DLC and its context binary are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents

if TYPE_CHECKING:
    import onnx_ir as ir


def onnx_contents(path: Path) -> GraphContents:
    """Read the graph's inputs and outputs, with scale and offset where they are quantized. Reads no weights.

    Raises:
        GraphError: it is not an ONNX file.
    """
    from qairt.graph.files import load

    graph = load(path).graph
    return GraphContents(
        name=str(graph.name),
        inputs=tuple(_spec(value) for value in graph.inputs),
        outputs=tuple(_spec(value) for value in graph.outputs),
    )


def _spec(value: ir.Value) -> TensorSpec:
    assert value.dtype is not None
    assert value.shape is not None
    scale, offset = _encoding_of(value)
    return TensorSpec(
        name=str(value.name),
        dtype=value.dtype.numpy().name,
        shape=tuple(value.shape.numpy()),
        scale=scale,
        offset=offset,
    )


def _encoding_of(value: ir.Value) -> tuple[float | None, int | None]:
    """Scale and offset of the QuantizeLinear that writes an integer tensor, or the DequantizeLinear that reads it."""
    producer = value.producer()
    nodes = [producer] if producer is not None else [use.node for use in value.uses()]
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero_point = (_constant(node, position) for position in (1, 2))
            return scale, -int(zero_point)
    return None, None


def _constant(node: ir.Node, position: int) -> float:
    value = node.inputs[position]
    assert value is not None
    assert value.const_value is not None
    return float(value.const_value.numpy())
