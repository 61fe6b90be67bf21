"""The `cpu` toolchain: plain ONNX Runtime on quantize-dequantize ONNX. Runs anywhere; makes no NPU artifacts."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from qairt.errors import ToolchainNotAvailable
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents, Inspection


def version() -> str:
    """e.g. `onnxruntime 1.31.1`.

    Raises:
        ToolchainNotAvailable: it is not installed.
    """
    try:
        return f"onnxruntime {metadata.version('onnxruntime')}"
    except metadata.PackageNotFoundError:
        raise ToolchainNotAvailable(
            "onnxruntime is not installed", where="backend: CPU", remedy="pip install onnxruntime"
        ) from None


def require() -> None:
    """
    Raises:
        ToolchainNotAvailable: ONNX Runtime is not installed.
    """
    version()


def inspect(path: Path) -> Inspection:
    """Inputs and outputs of an ONNX file; reads no weights.

    Returns:
        One graph. Scale and offset stand where the input or output is quantized.
    """
    import onnx_ir

    from qairt.graph.files import load

    model = load(path)

    def spec(value: onnx_ir.Value) -> TensorSpec:
        assert value.dtype is not None
        assert value.shape is not None
        scale, offset = _grid_of(value)
        return TensorSpec(
            name=str(value.name),
            dtype=value.dtype.numpy().name,
            shape=tuple(value.shape.numpy()),
            scale=scale,
            offset=offset,
        )

    graph = GraphContents(
        name=str(model.graph.name),
        inputs=tuple(spec(value) for value in model.graph.inputs),
        outputs=tuple(spec(value) for value in model.graph.outputs),
    )
    return Inspection(kind="onnx", graphs=(graph,))


def _grid_of(value: Any) -> tuple[float | None, int | None]:
    """Scale and offset of the QuantizeLinear that writes an integer tensor, or the DequantizeLinear that reads it."""
    producer = value.producer()
    nodes = [producer] if producer is not None else [use.node for use in value.uses()]
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, point = (node.inputs[place].const_value.numpy() for place in (1, 2))
            return float(scale), -int(point)
    return None, None
