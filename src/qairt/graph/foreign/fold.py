"""Give every tensor of a graph its size in numbers, and compute what depends on sizes alone.

Exporters with dynamic axes write Shape, Range, ConstantOfShape and the like. Once the inputs have sizes, these are
constants.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qairt.errors import GraphError
from qairt.graph.constants import integer_constant
from qairt.graph.foreign.layout import MOVES, moved, start
from qairt.graph.foreign.tidy import bypass, new_node, replace_value, tidy
from qairt.graph.shapes import constant, node_text, static
from qairt.graph.weights_file import read

LARGEST = 1 << 22
"""Elements of the largest constant that is computed here: a mask of AR 128 and CL 32768."""


def fold(model: ir.Model) -> None:
    """Fold a graph whose inputs have static shapes, in place.

    Raises:
        GraphError: a node does not fit the sizes of its inputs.
    """
    graph = model.graph
    version = model.opset_imports[""]
    for node in list(graph):
        if node.op_type == "Shape" and (source := node.inputs[0]) is not None:
            try:
                sizes = static(source)
            except ValueError:
                sizes = ()
            start = node.attributes["start"].as_int() if "start" in node.attributes else None
            end = node.attributes["end"].as_int() if "end" in node.attributes else None
            _make_constant(graph, node, [np.array(sizes[slice(start, end)], np.int64)])
            continue
        constants = [_constant(value) for value in node.inputs]
        if node.inputs and all(
            value is None or found is not None for value, found in zip(node.inputs, constants, strict=True)
        ):
            _make_constant(graph, node, _computed(node, constants, version))
            continue
        _infer(node, constants, version, model.ir_version)
        if node.op_type == "Concat":
            _drop_empty(node)
        elif _keeps_all(node):
            bypass(model, node)
    tidy(model)
    for node in list(graph):
        _collapse(graph, node)
    RemoveUnusedNodesPass()(model)


def _collapse(graph: ir.Graph, last: ir.Node) -> None:
    """Data that is moved there and back, as around a Conv, is not moved at all, or only given another shape."""
    chain = [last]
    while True:
        source = chain[0].inputs[0] if chain[0].op_type in _MOVES else None
        before = source.producer() if source is not None else None
        if source is None or before is None or before.op_type not in _MOVES:
            break
        chain.insert(0, before)
    out = last.outputs[0]
    goes_on = any(node.op_type in _MOVES for node, _ in out.uses()) and len(out.uses()) == 1
    if goes_on or out.dtype != ir.DataType.FLOAT:
        return
    source = next((chain[k].inputs[0] for k in range(len(chain) - 1) if _keep_order(chain[k:])), None)
    if source is None:
        return
    if static(source) == static(out) and not out.is_graph_output():
        out.replace_all_uses_with(source)
        return
    shape = integer_constant(graph.initializers, list(static(out)))
    reshaped = new_node(graph, last, "Reshape", [source, shape], f"{out.name}.same")
    replace_value(graph, out, reshaped)


def _keep_order(chain: list[ir.Node]) -> bool:
    try:
        places = start(static(chain[0].inputs[0]))
        for node in chain:
            places = moved(places, node)
    except ValueError:  # a size is not known
        return False
    return np.array_equal(places.reshape(-1), np.arange(places.size))


_MOVES = MOVES - {"Expand"}


def _drop_empty(concat: ir.Node) -> None:
    """ONNX's own expansion of RotaryEmbedding appends the channels that are not rotated, even if there are none."""
    filled = [value for value in concat.inputs if value is None or value.shape is None or 0 not in tuple(value.shape)]
    if len(filled) < len(concat.inputs):
        for place, value in enumerate(filled):
            concat.replace_input_with(place, value)
        concat.resize_inputs(len(filled))


def _keeps_all(node: ir.Node) -> bool:
    """An operation that gives back its input: the same shape, in the same order."""
    source, out = node.inputs[0] if node.inputs else None, node.outputs[0]
    if node.op_type == "CastLike":
        return source is not None and source.dtype == out.dtype
    if source is None or source.shape is None or out.shape is None or source.shape != out.shape:
        return False
    if node.op_type == "Slice":
        steps = node.inputs[4] if len(node.inputs) > 4 else None
        return steps is None or (steps.const_value is not None and min(constant(steps)) > 0)
    if node.op_type == "Transpose":
        perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else ()
        return list(perm) == sorted(perm) and len(perm) > 0
    return node.op_type in ("Reshape", "Expand")


def computed(model: ir.Model, wanted: list[ir.Value], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The values of some tensors that depend on `feeds` and constants only."""
    known: dict[ir.Value, NDArray[Any]] = {
        value: feeds[str(value.name)] for value in model.graph.inputs if str(value.name) in feeds
    }
    needed: set[ir.Node] = set()
    stack = [value.producer() for value in wanted]
    while stack:
        node = stack.pop()
        if node is not None and node not in needed:
            needed.add(node)
            stack += [value.producer() for value in node.inputs if value is not None]
    for node in model.graph:
        if node in needed:
            inputs = [None if v is None else known[v] if v in known else _constant(v) for v in node.inputs]
            results = _computed(node, inputs, model.opset_imports[""])
            known |= dict(zip(node.outputs, results, strict=False))
    return [known[value] if value in known else np.asarray(_constant(value)) for value in wanted]


def _constant(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's values, if it is small; weights stay in their file."""
    if value is None or value.const_value is None or value.const_value.size > LARGEST:
        return None
    tensor = value.const_value
    return read(tensor) if isinstance(tensor, ir.ExternalTensor) else np.asarray(tensor.numpy())


def _computed(node: ir.Node, inputs: list[NDArray[Any] | None], version: int) -> list[NDArray[Any]]:
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Expand" and inputs[0] is not None and inputs[1] is not None:  # the evaluator's is slow
        return [np.array(inputs[0] * np.ones(inputs[1].tolist(), inputs[0].dtype))]
    proto = ir.to_proto(node)
    proto.domain = ""
    import onnx

    names = [f"i{place}" for place in range(len(inputs))]
    proto.input[:] = [name if value is not None else "" for name, value in zip(names, inputs, strict=True)]
    graph = onnx.helper.make_graph(
        [proto],
        "one",
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in zip(names, inputs, strict=True)
            if value is not None
        ],
        [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
    feeds = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # the evaluator's, of several kinds
        raise GraphError(
            f"it cannot be computed: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=node_text(node),
            remedy="export the decoder with its shapes and positions as inputs",
        ) from error


def _make_constant(graph: ir.Graph, node: ir.Node, values: list[NDArray[Any]]) -> None:
    for out, array in zip(node.outputs, values, strict=False):
        name = str(out.name)
        tensor = ir.tensor(array, name=name)
        out.name = f"{name}.folded"
        made = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        graph.initializers[name] = made
        for place, output in enumerate(graph.outputs):
            if output is out:
                graph.outputs[place] = made
        out.replace_all_uses_with(made)
    graph.remove(node, safe=True)


def _infer(node: ir.Node, constants: list[NDArray[Any] | None], version: int, ir_version: int) -> None:
    """Type and shape of a node's outputs, by ONNX's own rules."""
    import onnx
    from onnx.shape_inference import infer_node_outputs

    types, data = {}, {}
    for value, array in zip(node.inputs, constants, strict=True):
        if value is None:
            continue
        dtype = value.dtype or ir.DataType.FLOAT
        shape = None if value.shape is None else [size if isinstance(size, int) else None for size in value.shape]
        types[str(value.name)] = onnx.helper.make_tensor_type_proto(dtype.value, shape)
        if array is not None and array.dtype.kind in "iub" and array.size < 1000:
            data[str(value.name)] = onnx.numpy_helper.from_array(np.ascontiguousarray(array), str(value.name))
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
        found = infer_node_outputs(
            schema,
            ir.to_proto(node),
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid("", version)],
            ir_version=ir_version,
        )
    except Exception as error:  # ONNX's, of several kinds
        raise GraphError(
            f"the shapes of its inputs do not fit: {str(error).strip().splitlines()[-1]}",
            where=node_text(node),
            remedy="export it again: with these AR and CL it is not a valid graph",
        ) from error
    for out in node.outputs:
        kind = found.get(str(out.name))
        if kind is not None and kind.HasField("tensor_type"):
            out.dtype = ir.DataType(kind.tensor_type.elem_type)
            if kind.tensor_type.HasField("shape"):
                sizes = [size.dim_value if size.HasField("dim_value") else None for size in kind.tensor_type.shape.dim]
                out.shape = ir.Shape(sizes)
