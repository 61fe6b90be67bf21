"""The ONNX files of a bundle: their tensors, and the binaries that `EPContext` graphs refer to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import GraphError
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents

if TYPE_CHECKING:
    import onnx

DYNAMIC = 0
"""A dimension that is not fixed."""


@dataclass(frozen=True)
class WrappedGraph:
    """A graph in a binary beside the wrapper."""

    binary: str
    graph: str


def read_wrapped(path: Path) -> list[WrappedGraph]:
    """The graphs that a wrapper refers to; none if the file is a plain graph, embeds the binary, or is not ONNX."""
    import onnx

    try:
        nodes = _load(path).graph.node
    except GraphError:
        return []
    found = []
    for node in nodes:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "EPContext" and attributes.get("embed_mode", 1) == 0:
            found.append(
                WrappedGraph(
                    _text(attributes.get("ep_cache_context")), _text(attributes.get("partition_name")) or node.name
                )
            )
    return found


def read_tensors(path: Path) -> GraphContents:
    """Read inputs and outputs.

    Raises:
        GraphError: it is not an ONNX file.
    """
    graph = _load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    return GraphContents(
        graph.name,
        tuple(_spec(value) for value in graph.input if value.name not in constants),
        tuple(_spec(value) for value in graph.output),
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else DYNAMIC for dim in kind.shape.dim)
    return TensorSpec(name=value.name, dtype=str(dtype), shape=shape)


def _load(path: Path) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's
        raise GraphError(
            f"this is not an ONNX graph ({type(error).__name__})", where=path.name, remedy="export the bundle again"
        ) from error


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
