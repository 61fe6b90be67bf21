"""Read somebody else's export into the plain form that the other passes know.

1. Constants become initializers; those that nothing reads go. Integers are held in memory, wherever they were stored.
2. Token ids are int32, as a runtime gives them; a Cast before the embedding goes.
3. What no later stage could take is refused here: an old opset, 16-bit floats, a weights file that is not whole.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from qairt.errors import GraphError
from qairt.graph import files

OPSET = 21
"""The first whose integers hold a quantized graph; see `qairt.graph.qdq.quantize`."""


def read_foreign(source: Path) -> ir.Model:
    """The graph at `source`; its weights stay where they are and are not read.

    Raises:
        GraphError: it breaks rule 3, or is no ONNX file; names the tensor.
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
    """Take out the initializers that no node reads."""
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
            f"token ids are read by {', '.join(others)}, which is not the embedding",
            where=f"input {ids.name}",
            remedy="export the decoder with a Gather that looks up input_ids, and nothing else that reads them",
        )
    ids.dtype = ir.DataType.INT32


def _require_opset(model: ir.Model, source: Path) -> None:
    version = model.opset_imports.get("", 0)
    if version < OPSET:
        raise GraphError(
            f"opset {version} cannot hold 4- and 16-bit integers",
            where=str(source),
            remedy=f"export it with opset {OPSET} or later (RMSNormalization needs 23)",
        )


def _require_float32(value: ir.Value, kind: str) -> None:
    dtype = value.const_value.dtype if value.const_value is not None else value.dtype
    if dtype is not None and dtype.is_floating_point() and dtype != ir.DataType.FLOAT:
        raise GraphError(
            f"it is {dtype.name.lower()}, and encodings belong to a float32 graph",
            where=f"{kind} {value.name}",
            remedy="export it in float32",
        )


def _require_whole(tensor: ir.ExternalTensor) -> None:
    path = Path(tensor.path)
    held = path.stat().st_size if path.is_file() else None
    end = (tensor.offset or 0) + tensor.nbytes
    if held is None or held < end:
        state = "does not exist" if held is None else f"holds {held:,} bytes of at least {end:,}"
        raise GraphError(
            f"its weights file {tensor.location} {state}",
            where=f"initializer {tensor.name}",
            remedy="copy the export again, with its weights file beside it",
        )
