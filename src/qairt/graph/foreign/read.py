"""Read an external ONNX graph into the form that the other passes expect.

1. Constants become initializers; unused ones are removed. Integers are loaded into memory.
2. Token ids become int32, as runtimes pass them; a Cast before the embedding is removed.
3. What no later stage could handle is rejected here: an old opset, 16-bit floats, a truncated weights file.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from qairt.errors import GraphError
from qairt.graph import files

OPSET = 21
"""The first with the integer types of a quantized graph, see `qairt.graph.qdq.quantize`."""


def read_foreign(source: Path) -> ir.Model:
    """Read the graph at `source`, but not its weights, which stay where they are.

    Raises:
        GraphError: it violates rule 3, or is not an ONNX file; names the tensor.
    """
    model = files.load(source)
    _require_opset(model, source)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    drop_unused(model)
    for value in model.graph.initializers.values():
        _require_float32(value, "initializer")
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            _require_whole(tensor)
            if not tensor.dtype.is_floating_point():
                value.const_value = ir.tensor(tensor.numpy(), name=tensor.name)
    for value in model.graph.inputs:
        _require_float32(value, "input")
        if value.name == "input_ids":
            _narrow(value)
    return model


def drop_unused(model: ir.Model) -> None:
    """Remove the initializers that no node reads."""
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del model.graph.initializers[name]


def _narrow(ids: ir.Value) -> None:
    """Rule 2."""
    for node, _ in list(ids.uses()):
        if node.op_type == "Cast":
            node.outputs[0].replace_all_uses_with(ids)
            graph = node.graph
            assert graph is not None
            graph.remove(node, safe=True)
    others = sorted({node.op_type for node, _ in ids.uses()} - {"Gather"})
    if others:
        raise GraphError(
            f"token ids are read by {', '.join(others)}, not only by the embedding",
            where=f"input {ids.name}",
            remedy="export the decoder so that one Gather looks up input_ids and nothing else reads them",
        )
    ids.dtype = ir.DataType.INT32


def _require_opset(model: ir.Model, source: Path) -> None:
    version = model.opset_imports.get("", 0)
    if version < OPSET:
        raise GraphError(
            f"opset {version} has no 4- and 16-bit integers",
            where=str(source),
            remedy=f"export it with opset {OPSET} or later (RMSNormalization needs 23)",
        )


def _require_float32(value: ir.Value, kind: str) -> None:
    dtype = value.const_value.dtype if value.const_value is not None else value.dtype
    if dtype is not None and dtype.is_floating_point() and dtype != ir.DataType.FLOAT:
        raise GraphError(
            f"it is {dtype.name.lower()}, but encodings need a float32 graph",
            where=f"{kind} {value.name}",
            remedy="export it in float32",
        )


def _require_whole(tensor: ir.ExternalTensor) -> None:
    path = Path(tensor.path)
    held = path.stat().st_size if path.is_file() else None
    end = (tensor.offset or 0) + tensor.nbytes
    if held is None or held < end:
        state = "does not exist" if held is None else f"has {held:,} bytes, expected at least {end:,}"
        raise GraphError(
            f"its weights file {tensor.location} {state}",
            where=f"initializer {tensor.name}",
            remedy="copy the graph again, with its weights file beside it",
        )
