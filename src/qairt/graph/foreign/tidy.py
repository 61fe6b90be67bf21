"""Write a graph's operations in the one form that the other passes know.

1. A Cast between equal types, an Identity, a Dropout and a Concat of one tensor are removed.
2. A linear layer written as a 1x1 Conv or as a Gemm becomes MatMul and Add; its weight becomes [in, out].
3. A Split becomes Slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from qairt.graph.constants import integer_constant
from qairt.graph.shapes import constant
from qairt.graph.weights_file import read


def tidy(model: ir.Model) -> None:
    """Rewrite `model` in place. A weight that was [out, in] and is [in, out] now has `turned` in its `meta`."""
    graph = model.graph
    for node in list(graph):
        _set_type(node)
        if _changes_nothing(node):
            bypass(model, node)
        elif node.op_type == "Conv" and _is_linear_conv(node):
            _conv_to_matmul(graph, node)
        elif node.op_type == "Gemm":
            _gemm_to_matmul(graph, node)
        elif node.op_type == "Split":
            _split_to_slices(graph, node)


def new_node(
    graph: ir.Graph,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value | None],
    out: str,
    attributes: Mapping[str, int | Sequence[int]] | None = None,
    dtype: ir.DataType | None = ir.DataType.FLOAT,
) -> ir.Value:
    """A new node in front of `before`; returns its output, named `out`."""
    node = ir.node(op, inputs, attributes=dict(attributes or {}), name=f"{op}:{out}")
    node.outputs[0].name = out
    if dtype is not None:
        node.outputs[0].dtype = dtype
    graph.insert_before(before, node)
    return node.outputs[0]


def _changes_nothing(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        source = node.inputs[0]
        return source is not None and source.dtype == ir.DataType(node.attributes["to"].as_int())
    return node.op_type in ("Identity", "Dropout") or (node.op_type == "Concat" and len(node.inputs) == 1)


def bypass(model: ir.Model, node: ir.Node) -> None:
    """Rule 1: readers of a node read its input. A graph output keeps its name; one that is an input stays."""
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    graph = model.graph
    if out.is_graph_output():
        if source.is_graph_input() or source.is_initializer() or source.is_graph_output():
            return
        source.name, out.name = out.name, f"{out.name}.same"
        for place, value in enumerate(graph.outputs):
            if value is out:
                graph.outputs[place] = source
    if source.shape is None:
        source.shape = out.shape
    out.replace_all_uses_with(source)
    graph.remove(node, safe=True)


def _is_linear_conv(node: ir.Node) -> bool:
    """A Conv that reads one position at a time, all channels at once."""
    weight = node.inputs[1]
    tensor = weight.const_value if weight is not None else None
    group = node.attributes["group"].as_int() if "group" in node.attributes else 1
    if tensor is None or group != 1 or any(size != 1 for size in tuple(tensor.shape)[2:]):
        return False
    strides = node.attributes["strides"].as_ints() if "strides" in node.attributes else ()
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    return all(stride == 1 for stride in strides) and not any(pads)


def _conv_to_matmul(graph: ir.Graph, node: ir.Node) -> None:
    """Rule 2: [.., in, positions ..] -> positions first, MatMul, channels first again."""
    x, weight, *bias = node.inputs
    out = node.outputs[0]
    assert x is not None
    assert weight is not None
    assert weight.const_value is not None
    rank = len(tuple(weight.const_value.shape))
    last, first = (0, *range(2, rank), 1), (0, rank - 1, *range(1, rank - 1))
    name = str(out.name)
    rows = new_node(graph, node, "Transpose", [x], f"{name}.rows", {"perm": last})
    kernel = _turned(graph, weight)
    product = new_node(graph, node, "MatMul", [rows, kernel], f"{name}.matmul")
    if bias and bias[0] is not None:
        product = new_node(graph, node, "Add", [product, bias[0]], f"{name}.biased")
    _replace(graph, node, new_node(graph, node, "Transpose", [product], f"{name}.channels", {"perm": first}))


def _gemm_to_matmul(graph: ir.Graph, node: ir.Node) -> None:
    """Rule 2, for a Gemm of a weight without scales."""
    x, weight, *bias = node.inputs
    attributes = {name: attribute for name, attribute in node.attributes.items() if attribute.value}
    scaled = any(attributes[name].as_float() != 1.0 for name in ("alpha", "beta") if name in attributes)
    if weight is None or weight.const_value is None or scaled or "transA" in attributes or x is None:
        return
    kernel = _turned(graph, weight) if "transB" in attributes else weight
    name = str(node.outputs[0].name)
    product = new_node(graph, node, "MatMul", [x, kernel], f"{name}.matmul" if bias else f"{name}.product")
    if bias and bias[0] is not None:
        product = new_node(graph, node, "Add", [product, bias[0]], f"{name}.biased")
    _replace(graph, node, product)


def _split_to_slices(graph: ir.Graph, node: ir.Node) -> None:
    """Rule 3, where the sizes are known."""
    source = node.inputs[0]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    sizes = None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        sizes = constant(node.inputs[1]) if node.inputs[1].const_value is not None else None
    elif source is not None and source.shape is not None and isinstance(size := source.shape[axis], int):
        count = len(node.outputs)
        sizes = [size // count] * count if size % count == 0 else None
    if sizes is None:
        return
    start = 0
    for out, size in zip(list(node.outputs), sizes, strict=True):
        bounds = [integer_constant(graph.initializers, [number]) for number in (start, start + size, axis)]
        sliced = new_node(graph, node, "Slice", [source, *bounds], f"{out.name}.slice", dtype=out.dtype)
        replace_value(graph, out, sliced)
        start += size
    graph.remove(node, safe=True)


def _turned(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    """A weight [out, in, 1 ..] as [in, out], under its own name unless another operation reads it as it was."""
    name, tensor = str(weight.name), weight.const_value
    assert tensor is not None
    if weight.meta.get("turned"):
        return weight
    values = read(tensor)
    values = values.reshape(values.shape[:2]).T
    if all(node.op_type in ("Conv", "Gemm") for node, _ in weight.uses()):
        weight.meta["turned"] = True
        weight.const_value, weight.shape = ir.tensor(values, name=name), ir.Shape(values.shape)
        return weight
    own = f"{name}.turned"
    if own not in graph.initializers:
        tensor = ir.tensor(values, name=own)
        graph.initializers[own] = ir.Value(
            name=own, const_value=tensor, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype)
        )
        graph.initializers[own].meta.update(turned=True, was=name)
    return graph.initializers[own]


_BOOLEAN = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not", "IsNaN"))


def _set_type(node: ir.Node) -> None:
    """The type of the first output, where the exporter left it out."""
    out = node.outputs[0]
    if out.dtype is not None:
        return
    if node.op_type == "Cast":
        out.dtype = ir.DataType(node.attributes["to"].as_int())
    elif node.op_type in ("Shape", "Size", "ArgMax", "NonZero"):
        out.dtype = ir.DataType.INT64
    elif node.op_type in _BOOLEAN:
        out.dtype = ir.DataType.BOOL
    else:
        place = 1 if node.op_type == "Where" else 0
        source = node.inputs[place] if len(node.inputs) > place else None
        if source is not None and source.dtype is not None:
            out.dtype = source.dtype


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    replace_value(graph, node.outputs[0], value)
    graph.remove(node, safe=True)


def replace_value(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """`new` takes the place and the name of `old`."""
    new.name, old.name = old.name, f"{old.name}.old"
    new.shape = old.shape
    for place, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[place] = new
    old.replace_all_uses_with(new)
