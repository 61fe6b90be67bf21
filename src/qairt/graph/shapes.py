"""Static shapes of every tensor, by the rules of the few operations a decoder is made of. No weight is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from qairt.errors import GraphError

Shape = tuple[int, ...]


def propagate(model: ir.Model) -> None:
    """Set shape and type of every node output from the static shapes of the inputs.

    Raises:
        GraphError: an operation is not one a decoder is made of, or its inputs do not fit; names the node.
    """
    for node in model.graph:
        rule = _RULES.get(node.op_type)
        if rule is None or node.domain not in ("", "ai.onnx"):
            raise GraphError(
                f"the operation {node.op_type} is not supported",
                where=f"node {node.name or node.outputs[0].name}",
                remedy=f"export the decoder with these operations only: {', '.join(sorted(_RULES))}",
            )
        try:
            shape = rule(node)
        except (ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
            raise GraphError(
                f"the shapes of its inputs do not fit: {[_shown(value) for value in node.inputs]}",
                where=f"node {node.name or node.outputs[0].name}",
                remedy="the graph is damaged, or AR and CL do not suit it",
            ) from error
        node.outputs[0].shape = ir.Shape(shape)
        dtype = _first_type(node)
        if node.outputs[0].dtype is None and dtype is not None:
            node.outputs[0].dtype = dtype


def static(value: ir.Value | None) -> Shape:
    """The shape of a value in numbers.

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
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else list(range(len(starts)))
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    return tuple(shape)


def _concat(node: ir.Node) -> Shape:
    shapes = [static(value) for value in node.inputs]
    axis = _attribute(node, "axis", 0) % len(shapes[0])
    others = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(others) != 1:
        raise ValueError("sizes beside the axis differ")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _reshape(node: ir.Node) -> Shape:
    before = static(node.inputs[0])
    wanted = [before[place] if size == 0 else size for place, size in enumerate(constant(node.inputs[1]))]
    count = _product(before)
    if -1 in wanted:
        rest = -_product(wanted)
        if count % rest:
            raise ValueError("elements do not divide")
        wanted[wanted.index(-1)] = count // rest
    if _product(wanted) != count:
        raise ValueError("elements differ")
    return tuple(wanted)


def _transpose(node: ir.Node) -> Shape:
    shape = static(node.inputs[0])
    return tuple(shape[axis] for axis in node.attributes["perm"].as_ints())


def _unsqueeze(node: ir.Node) -> Shape:
    shape, axes = list(static(node.inputs[0])), constant(node.inputs[1])
    rank = len(shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    return tuple(shape)


def _expand(node: ir.Node) -> Shape:
    return broadcast(static(node.inputs[0]), tuple(constant(node.inputs[1])))


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def _attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _first_type(node: ir.Node) -> ir.DataType | None:
    return next((value.dtype for value in node.inputs if value is not None and value.dtype is not None), None)


def _shown(value: ir.Value | None) -> str:
    return f"{value.name} {list(value.shape) if value.shape is not None else '?'}" if value is not None else "none"


_RULES: dict[str, Callable[[ir.Node], Shape]] = {
    "Add": _elementwise,
    "Cast": _same,
    "Concat": _concat,
    "Div": _elementwise,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _same,
    "MatMul": _matmul,
    "Mul": _elementwise,
    "Pow": _elementwise,
    "RMSNormalization": _same,
    "Reshape": _reshape,
    "Sigmoid": _same,
    "Slice": _slice,
    "Softmax": _same,
    "Sqrt": _same,
    "Sub": _elementwise,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
