"""Static shape inference for the few operations that decoders use. Reads no weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from qairt.errors import GraphError

Shape = tuple[int, ...]


def propagate(model: ir.Model) -> None:
    """Set shape and type of every node output from the inputs' static shapes.

    Raises:
        GraphError: an operation is not supported, or its inputs do not fit; names the node.
    """
    for node in model.graph:
        rule = _RULES.get(operation(node))
        if rule is None:
            raise unsupported(node)
        try:
            shape = rule(node)
        except (ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
            raise GraphError(
                f"the shapes of its inputs do not fit: {[_shape_text(value) for value in node.inputs]}",
                where=node_text(node),
                remedy="the graph is damaged, or does not support this AR and CL",
            ) from error
        dtype = _type(node)
        for output in node.outputs:  # of TopK, both have one shape
            output.shape = ir.Shape(shape)
            if output.dtype is None and dtype is not None:
                output.dtype = dtype


def operation(node: ir.Node) -> str:
    """The operation's name, with its domain unless that is ONNX's own."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def node_text(node: ir.Node) -> str:
    """How errors name a node."""
    return f"node {node.name or node.outputs[0].name} ({operation(node)})"


def unsupported(node: ir.Node) -> GraphError:
    """The error for an unsupported operation."""
    return GraphError(
        f"the operation {operation(node)} is not supported",
        where=node_text(node),
        remedy=f"export the decoder with these operations only: {', '.join(sorted(_RULES))}",
    )


def static(value: ir.Value | None) -> Shape:
    """A value's shape in numbers.

    Raises:
        ValueError: it is not static.
    """
    if value is None or value.shape is None:
        raise ValueError("no shape")
    sizes = tuple(value.shape)
    if not all(isinstance(size, int) for size in sizes):
        raise ValueError("not static")
    return tuple(int(size) for size in sizes)  # type: ignore[arg-type]


def constant(value: ir.Value | None) -> list[int]:
    """The integers of a constant input."""
    assert value is not None
    assert value.const_value is not None
    return [int(number) for number in value.const_value.numpy().reshape(-1)]


def optional(node: ir.Node, position: int, default: Sequence[int]) -> list[int]:
    """The integers of an optional constant input."""
    value = node.inputs[position] if position < len(node.inputs) else None
    return list(default) if value is None else constant(value)


def reduced_axes(node: ir.Node, rank: int) -> tuple[set[int], bool]:
    """The axes of a reduction, counted from 0, and whether they remain with size 1."""
    axes = optional(node, 1, ())
    if not axes and not _attribute(node, "noop_with_empty_axes", 0):
        axes = list(range(rank))
    return {axis % rank for axis in axes}, bool(_attribute(node, "keepdims", 1))


def squeezed_axes(node: ir.Node, rank: int) -> set[int]:
    """The axes, counted from 0, that a Squeeze with explicit axes removes."""
    return {axis % rank for axis in constant(node.inputs[1])}


def broadcast(*shapes: Shape) -> Shape:
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        large = {size for size in sizes if size != 1}
        if len(large) > 1:
            raise ValueError(f"sizes {sizes} do not broadcast")
        result.append(large.pop() if large else 1)
    return tuple(result)


def _same(node: ir.Node) -> Shape:
    return static(node.inputs[0])


def _elementwise(node: ir.Node) -> Shape:
    return broadcast(*(static(value) for value in node.inputs))


def _matmul(node: ir.Node) -> Shape:
    a, b = static(node.inputs[0]), static(node.inputs[1])
    if a[-1] != b[-2]:
        raise ValueError("inner sizes differ")
    return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])


def _gather(node: ir.Node) -> Shape:
    table, ids = static(node.inputs[0]), static(node.inputs[1])
    axis = _attribute(node, "axis", 0) % len(table)
    return (*table[:axis], *ids, *table[axis + 1 :])


def _slice(node: ir.Node) -> Shape:
    shape = list(static(node.inputs[0]))
    starts, ends = constant(node.inputs[1]), constant(node.inputs[2])
    axes, steps = optional(node, 3, range(len(starts))), optional(node, 4, [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return tuple(shape)


def _pad(node: ir.Node) -> Shape:
    shape, sizes = static(node.inputs[0]), constant(node.inputs[1])
    around = zip(shape, sizes[: len(shape)], sizes[len(shape) :], strict=True)
    return tuple(size + before + after for size, before, after in around)


def _concat(node: ir.Node) -> Shape:
    shapes = [static(value) for value in node.inputs]
    axis = _attribute(node, "axis", 0) % len(shapes[0])
    others = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(others) != 1:
        raise ValueError("sizes beside the axis differ")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _reshape(node: ir.Node) -> Shape:
    before = static(node.inputs[0])
    target = [before[axis] if size == 0 else size for axis, size in enumerate(constant(node.inputs[1]))]
    count = _product(before)
    if -1 in target:
        rest = -_product(target)
        if count % rest:
            raise ValueError("elements do not divide")
        target[target.index(-1)] = count // rest
    if _product(target) != count:
        raise ValueError("elements differ")
    return tuple(target)


def _transpose(node: ir.Node) -> Shape:
    shape = static(node.inputs[0])
    return tuple(shape[axis] for axis in node.attributes["perm"].as_ints())


def _topk(node: ir.Node) -> Shape:
    shape = list(static(node.inputs[0]))
    shape[_attribute(node, "axis", -1)] = constant(node.inputs[1])[0]
    return tuple(shape)


def _unsqueeze(node: ir.Node) -> Shape:
    shape, axes = list(static(node.inputs[0])), constant(node.inputs[1])
    rank = len(shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    return tuple(shape)


def _expand(node: ir.Node) -> Shape:
    return broadcast(static(node.inputs[0]), tuple(constant(node.inputs[1])))


def _reduce(node: ir.Node) -> Shape:
    shape = static(node.inputs[0])
    axes, keep = reduced_axes(node, len(shape))
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)


def _squeeze(node: ir.Node) -> Shape:
    shape = static(node.inputs[0])
    axes = squeezed_axes(node, len(shape))
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError("an axis is not 1")
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def _attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _type(node: ir.Node) -> ir.DataType | None:
    if node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    return next((value.dtype for value in node.inputs if value is not None and value.dtype is not None), None)


def _shape_text(value: ir.Value | None) -> str:
    return f"{value.name} {list(value.shape) if value.shape is not None else '?'}" if value is not None else "none"


_RULES: dict[str, Callable[[ir.Node], Shape]] = {
    "Add": _elementwise,
    "Cast": _same,
    "Concat": _concat,
    "Div": _elementwise,
    "Equal": _elementwise,
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": _same,
    "Identity": _same,
    "LayerNormalization": _same,
    "MatMul": _matmul,
    "Max": _elementwise,
    "Min": _elementwise,
    "Mul": _elementwise,
    "Neg": _same,
    "Or": _elementwise,
    "Pad": _pad,
    "Pow": _elementwise,
    "RMSNormalization": _same,
    "Reciprocal": _same,
    "Relu": _same,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "Reshape": _reshape,
    "Sigmoid": _same,
    "Slice": _slice,
    "Softmax": _same,
    "Sqrt": _same,
    "Squeeze": _squeeze,
    "Sub": _elementwise,
    "Tanh": _same,
    "TopK": _topk,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _elementwise,
}
