"""Read an external ONNX graph into the form that the other passes expect.

1. An operator that is not ONNX's own is refused as what it is. `Attention` and `RotaryEmbedding` of opset 23 are
   replaced by the single steps that ONNX defines them by.
2. A graph of an older opset is lifted to the first that has 4- and 16-bit integers, by ONNX's own converter.
3. Constants become initializers; unused ones are removed. Integers are loaded into memory.
4. What no later stage could handle is rejected here: 16-bit floats, a truncated weights file.
5. What changes nothing is removed (`tidy`): Casts between equal types, Identity, Dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from qairt.errors import GraphError
from qairt.graph import files
from qairt.graph.external_data import read_whole
from qairt.graph.foreign.tidy import tidy
from qairt.graph.shapes import node_text, operation

if TYPE_CHECKING:
    import onnx

OPSET = 21
"""The first with the integer types of a quantized graph, see `qairt.graph.qdq.quantize`."""
OLDEST = 13
"""The oldest opset that is lifted: the one that moved axes to inputs."""

FUSED = {
    "Attention": "attention fused by ONNX Runtime",
    "BiasGelu": "a GELU fused by ONNX Runtime",
    "FusedMatMul": "a MatMul fused by ONNX Runtime",
    "GroupQueryAttention": "attention with its cache, fused by ONNX Runtime",
    "MatMulNBits": "a MatMul with weights quantized by ONNX Runtime",
    "MultiHeadAttention": "attention fused by ONNX Runtime",
    "QuickGelu": "a GELU fused by ONNX Runtime",
    "RotaryEmbedding": "a rotary embedding fused by ONNX Runtime",
    "SimplifiedLayerNormalization": "an RMS norm fused by ONNX Runtime",
    "SkipLayerNormalization": "a residual Add and a norm, fused by ONNX Runtime",
    "SkipSimplifiedLayerNormalization": "a residual Add and an RMS norm, fused by ONNX Runtime",
}
"""Operators that ONNX Runtime's optimizer and model builder write."""

QUANTIZED = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul")

_COMPOSED = ("Attention", "RotaryEmbedding")


def read_foreign(source: Path) -> ir.Model:
    """Read the graph at `source`, but not its weights, which stay where they are.

    Raises:
        GraphError: it violates the rules, or is not an ONNX file; names the node or tensor.
    """
    model = files.load(source)
    _require_known_operators(model)
    model = _modern(model, source)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    tidy(model)
    drop_unused(model)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            _require_whole(tensor)
            if not tensor.dtype.is_floating_point():
                value.const_value = read_whole(tensor)
    require_float32(model, small=(ir.DataType.FLOAT16, ir.DataType.BFLOAT16))
    narrow_ids(model)
    return model


def drop_unused(model: ir.Model) -> None:
    """Remove the initializers that no node reads."""
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del model.graph.initializers[name]


def _require_known_operators(model: ir.Model) -> None:
    """Rule 1."""
    from onnx.defs import has

    version = model.opset_imports.get("", 0)
    local = {(function.domain, function.name) for function in model.functions.values()}
    for node in model.graph:
        foreign = node.domain not in ("", "ai.onnx")
        if (node.domain, node.op_type) in local or (not foreign and has(node.op_type, version)):
            continue
        if node.op_type in FUSED:  # ONNX Runtime writes some of them without a domain
            raise GraphError(
                f"{operation(node)} is {FUSED[node.op_type]}; these stages take ONNX's own operators",
                where=node_text(node),
                remedy="export the model without ONNX Runtime's optimizations, as torch.onnx.export writes it",
            )
        raise GraphError(
            f"{operation(node)} is not an operator of ONNX{'' if foreign else f' opset {version}'}",
            where=node_text(node),
            remedy="export the model with ONNX's own operators",
        )
    for node in model.graph:
        if node.op_type in QUANTIZED:
            raise GraphError(
                "the graph is quantized already, but encodings belong to a float32 graph",
                where=node_text(node),
                remedy="give the float32 graph, and its quantization as an encodings file",
            )


def _modern(model: ir.Model, source: Path) -> ir.Model:
    """Rules 1 and 2: the graph in single steps, in an opset with small integers."""
    version = model.opset_imports.get("", 0)
    if version < OLDEST:
        raise GraphError(
            f"opset {version} is too old to be converted",
            where=str(source),
            remedy="export it with opset 17 or later",
        )
    composed = [("", name) for name in _COMPOSED if any(node.op_type == name for node in model.graph)]
    if version >= OPSET and not composed and not model.functions:
        return model

    def convert(proto: onnx.ModelProto) -> onnx.ModelProto:
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
        if composed:
            proto = onnx.inliner.inline_selected_functions(proto, composed, inline_schema_functions=True)
        if version < OPSET:
            lifted: onnx.ModelProto = onnx.version_converter.convert_version(proto, OPSET)
            return lifted
        return proto

    import onnx
    import onnx.inliner
    import onnx.version_converter

    try:
        return _without_weights(model, convert)
    except Exception as error:  # the converter's own, of several kinds
        raise GraphError(
            f"opset {version} cannot be lifted to {OPSET}: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(source),
            remedy=f"export it with opset {OPSET} or later",
        ) from error


def _without_weights(model: ir.Model, convert: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """Convert the graph while its external weights are inputs: the converter knows no files."""
    graph = model.graph
    weights = [value for value in graph.initializers.values() if isinstance(value.const_value, ir.ExternalTensor)]
    for value in weights:
        tensor = value.const_value
        assert tensor is not None
        value.shape, value.dtype = ir.Shape(tensor.shape.numpy()), tensor.dtype
        del graph.initializers[str(value.name)]
        graph.inputs.append(value)
    converted: ir.Model = ir.from_proto(convert(ir.to_proto(model)))
    inputs = {str(value.name): value for value in converted.graph.inputs}
    for value in weights:
        found = inputs[str(value.name)]
        converted.graph.inputs.remove(found)
        found.const_value = value.const_value
        converted.graph.initializers[str(value.name)] = found
    return converted


def narrow_ids(model: ir.Model) -> None:
    """Token ids become int32, as runtimes pass them; a Cast before the embedding is removed.

    Raises:
        GraphError: something else than the embedding reads them.
    """
    ids = next((value for value in model.graph.inputs if value.name == "input_ids"), None)
    if ids is None:
        return
    for node, _ in list(ids.uses()):
        if node.op_type == "Cast":
            node.outputs[0].replace_all_uses_with(ids)
            model.graph.remove(node, safe=True)
    others = sorted({node.op_type for node, _ in ids.uses()} - {"Gather", "Shape"})
    if others:
        raise GraphError(
            f"token ids are read by {', '.join(others)}, not only by the embedding",
            where=f"input {ids.name}",
            remedy="export the decoder so that one Gather looks up input_ids and nothing else reads them",
        )
    ids.dtype = ir.DataType.INT32


_REALS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def require_float32(model: ir.Model, small: tuple[ir.DataType, ...] = _REALS) -> None:
    """
    Args:
        small: the types that are refused.

    Raises:
        GraphError: an input or initializer is of another float type.
    """
    kinds = [("input", value) for value in model.graph.inputs]
    for kind, value in kinds + [("initializer", value) for value in model.graph.initializers.values()]:
        dtype = value.const_value.dtype if value.const_value is not None else value.dtype
        if dtype in small:
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
