"""Bind an external graph, exported for one AR and CL, to others.

1. The inputs define AR and CL: `input_ids` [1, AR], `attention_mask` [1, 1, AR, CL], caches [.., CL - AR ..].
2. The meaning of each dimension is propagated through every operation (`dims`).
3. Reshape targets, Expand shapes and Slice bounds that mean a length are replaced; all other numbers stay.
4. A number whose meaning cannot be proven is an error that names the node.
5. In the end, shapes inferred from the numbers must equal those inferred from the meanings.
6. At the lengths that it was exported for, a graph needs no proof and is not rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph import shapes
from qairt.graph.constants import integer_initializer
from qairt.graph.foreign.dims import ONE, AmbiguousError, Dim, Dims, Lengths, broadcast, concat, cut, fixed, reshape
from qairt.graph.foreign.read import drop_unused
from qairt.model.names import LOGITS, is_key_or_value, token_axis

_CACHES = "past_key_{i}_in, past_value_{i}_in"


def bind_foreign(model: ir.Model, *, ar: int, cl: int) -> ir.Model:
    """Bind `model` to `ar` and `cl`, in place.

    Raises:
        GraphError: CL is not larger than AR, an operation is not supported, or a number's meaning cannot be proven.
    """
    if cl <= ar:
        raise GraphError(
            f"context length {cl} must be larger than the auto-regressive length {ar}",
            where=str(model.graph.name),
            remedy="raise context_length or lower arn",
        )
    old, new = lengths_of(model), Lengths(ar, cl)
    if old != new:
        binding = _Binding(model, old, new)
        binding.run()
        shapes.propagate(model)
        binding.check()
        drop_unused(model)
    else:
        shapes.propagate(model)
    require_new_tokens(model, new)
    model.graph.name = f"ar{ar}-cl{cl}"
    return model


def lengths_of(model: ir.Model) -> Lengths:
    """The AR and CL that a graph was exported for.

    Raises:
        GraphError: an input that defines them is missing, or the inputs disagree.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, rank in (("input_ids", 2), ("attention_mask", 4)):
        if name not in inputs or inputs[name].shape is None or len(inputs[name].shape or ()) != rank:
            raise GraphError(
                f"it has no input {name} with {rank} dimensions",
                where=str(model.graph.name),
                remedy=f"name the inputs input_ids [1, AR], attention_mask [1, 1, AR, CL], {_CACHES}",
            )
    ar, mask = _sizes(inputs["input_ids"])[1], _sizes(inputs["attention_mask"])
    if mask[2] != ar or mask[3] <= ar:
        raise GraphError(
            f"attention_mask {list(mask)} does not fit input_ids [1, {ar}]",
            where="input attention_mask",
            remedy="it must be [1, 1, AR, CL] with AR smaller than CL",
        )
    return Lengths(ar, mask[3])


def require_new_tokens(model: ir.Model, lengths: Lengths) -> None:
    """Check that the outputs hold AR tokens: all rows of the logits, and only the new tokens' keys and values.

    Raises:
        GraphError: an output has another length; names it.
    """
    for value in model.graph.outputs:
        name, shape = str(value.name), shapes.static(value)
        axis = token_axis(name)
        if name != LOGITS and not is_key_or_value(name):
            continue
        if len(shape) <= axis or shape[axis] != lengths.ar:
            raise GraphError(
                f"its shape is {list(shape)}: dimension {axis} is not AR = {lengths.ar}",
                where=f"output {name}",
                remedy="output logits [1, AR, vocab], and keys and values of the new tokens only, without the cache",
            )


def _sizes(value: ir.Value) -> shapes.Shape:
    try:
        return shapes.static(value)
    except ValueError as error:
        raise GraphError(
            "its shape is not fixed",
            where=f"input {value.name}",
            remedy="export it with fixed sizes, or with dimensions named ar, cl and past",
        ) from error


class _Binding:
    """One pass over the graph."""

    def __init__(self, model: ir.Model, old: Lengths, new: Lengths) -> None:
        self.graph = model.graph
        self.old = old
        self.new = new
        self.dims: dict[ir.Value, Dims] = {}
        self.rules: dict[str, Callable[[ir.Node], Dims]] = {
            "Concat": self._concat,
            "Expand": self._expand,
            "Gather": self._gather,
            "MatMul": self._matmul,
            "ReduceMean": self._reduce,
            "Reshape": self._reshape,
            "Slice": self._slice,
            "Squeeze": self._squeeze,
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
            **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), self._elementwise),
            **dict.fromkeys(("Softmax", "Sigmoid", "Sqrt", "Neg", "Reciprocal"), self._same),
            **dict.fromkeys(("Cast", "Identity", "RMSNormalization", "LayerNormalization"), self._same),
            **dict.fromkeys(("Gelu", "Relu", "Tanh"), self._same),
        }

    def run(self) -> None:
        for value in self.graph.inputs:
            self._bind_input(value)
        for node in list(self.graph):
            rule = self.rules.get(shapes.operation(node))
            if rule is None:
                raise shapes.unsupported(node)
            try:
                self.dims[node.outputs[0]] = rule(node)
            except AmbiguousError as error:
                raise GraphError(
                    f"it cannot be rebound from AR {self.old.ar} and CL {self.old.cl}: {error}",
                    where=shapes.node_text(node),
                    remedy="export it with lengths that equal no layer size, such as AR 128 and CL 4096",
                ) from error
            except (ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
                raise GraphError(
                    "one of its shapes, axes or bounds is not constant, or does not fit",
                    where=shapes.node_text(node),
                    remedy="export it with constants folded and fixed sizes",
                ) from error

    def check(self) -> None:
        """Rule 5."""
        for node in self.graph:
            meant = tuple(dim.at(self.new) for dim in self.dims[node.outputs[0]])
            if (found := shapes.static(node.outputs[0])) != meant:
                raise GraphError(
                    f"at the new lengths its output would be {list(found)} instead of {list(meant)}",
                    where=shapes.node_text(node),
                    remedy="export it with lengths that equal no layer size, such as AR 128 and CL 4096",
                )

    # Inputs

    def _bind_input(self, value: ir.Value) -> None:
        name, sizes = str(value.name), _sizes(value)
        symbols: dict[int, str] = {}
        if name == "input_ids":
            symbols = {1: "ar"}
        elif name == "attention_mask":
            symbols = {2: "ar", 3: "cl"}
        elif name in ("position_ids_cos", "position_ids_sin"):
            symbols = {2: "ar"}
        elif name.startswith("past_key_"):
            symbols = {3: "past"}
        elif name.startswith("past_value_"):
            symbols = {2: "past"}
        else:
            raise GraphError(
                f"the meaning of the dimensions of {name} {list(sizes)} is unknown",
                where=f"input {name}",
                remedy=f"supported inputs: input_ids, attention_mask, position_ids_cos, position_ids_sin, {_CACHES}",
            )
        for axis, symbol in symbols.items():
            if axis >= len(sizes) or sizes[axis] != self.old.of(symbol):
                raise GraphError(
                    f"dimension {axis} of {name} {list(sizes)} is not {symbol} = {self.old.of(symbol)}",
                    where=f"input {name}",
                    remedy="export all inputs for the same AR and CL",
                )
        dims = tuple(Dim(1, symbols[axis]) if axis in symbols else Dim(size) for axis, size in enumerate(sizes))
        self.dims[value] = dims
        value.shape = ir.Shape([dim.at(self.new) for dim in dims])

    # Rules

    def _of(self, value: ir.Value | None) -> Dims:
        assert value is not None
        if value not in self.dims:
            self.dims[value] = fixed(shapes.static(value))
        return self.dims[value]

    def _same(self, node: ir.Node) -> Dims:
        return self._of(node.inputs[0])

    def _elementwise(self, node: ir.Node) -> Dims:
        return broadcast(*(self._of(value) for value in node.inputs))

    def _matmul(self, node: ir.Node) -> Dims:
        a, b = self._of(node.inputs[0]), self._of(node.inputs[1])
        if a[-1] != b[-2]:
            raise AmbiguousError("its inner dimensions have different meanings")
        return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1]) if len(a) > 2 or len(b) > 2 else (a[-2], b[-1])

    def _gather(self, node: ir.Node) -> Dims:
        table, ids = self._of(node.inputs[0]), self._of(node.inputs[1])
        axis = node.attributes["axis"].as_int() % len(table) if "axis" in node.attributes else 0
        if table[axis].symbol is not None:
            raise AmbiguousError(f"it indexes {table[axis].symbol}, and the index may count from the end")
        return (*table[:axis], *ids, *table[axis + 1 :])

    def _concat(self, node: ir.Node) -> Dims:
        parts = [self._of(value) for value in node.inputs]
        return concat(parts, node.attributes["axis"].as_int() % len(parts[0]))

    def _transpose(self, node: ir.Node) -> Dims:
        dims = self._of(node.inputs[0])
        return tuple(dims[axis] for axis in node.attributes["perm"].as_ints())

    def _unsqueeze(self, node: ir.Node) -> Dims:
        dims = list(self._of(node.inputs[0]))
        axes = shapes.constant(node.inputs[1])
        rank = len(dims) + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            dims.insert(axis, ONE)
        return tuple(dims)

    def _reshape(self, node: ir.Node) -> Dims:
        literal = shapes.constant(node.inputs[1])
        dims = reshape(self._of(node.inputs[0]), literal, self.old)
        kept = [size if size in (-1, 0) else dim.at(self.new) for size, dim in zip(literal, dims, strict=True)]
        self._rewrite(node, 1, literal, kept)
        return dims

    def _expand(self, node: ir.Node) -> Dims:
        literal, before = shapes.constant(node.inputs[1]), self._of(node.inputs[0])
        padded = (ONE,) * (len(literal) - len(before)) + before
        dims = []
        for dim, size in zip(padded, literal, strict=True):
            if dim == ONE and size in (self.old.ar, self.old.cl, self.old.cl - self.old.ar) and size != 1:
                raise AmbiguousError(f"it repeats a row {size} times, which may be a length or a layer size")
            dims.append(Dim(size) if dim == ONE else dim)
        self._rewrite(
            node, 1, literal, [1 if size == 1 else dim.at(self.new) for size, dim in zip(literal, dims, strict=True)]
        )
        return tuple(dims)

    def _slice(self, node: ir.Node) -> Dims:
        dims = list(self._of(node.inputs[0]))
        starts, ends = shapes.constant(node.inputs[1]), shapes.constant(node.inputs[2])
        axes = shapes.optional(node, 3, range(len(starts)))
        steps = shapes.optional(node, 4, [1] * len(starts))
        new_starts, new_ends = list(starts), list(ends)
        for index, (axis, start, end, step) in enumerate(zip(axes, starts, ends, steps, strict=True)):
            new_starts[index], new_ends[index], dims[axis] = cut(dims[axis], start, end, step, self.old, self.new)
        self._rewrite(node, 1, starts, new_starts)
        self._rewrite(node, 2, ends, new_ends)
        return tuple(dims)

    def _reduce(self, node: ir.Node) -> Dims:
        dims = self._of(node.inputs[0])
        axes, keep = shapes.reduced_axes(node, len(dims))
        return tuple(ONE if axis in axes else dim for axis, dim in enumerate(dims) if keep or axis not in axes)

    def _squeeze(self, node: ir.Node) -> Dims:
        dims = self._of(node.inputs[0])
        axes = shapes.squeezed_axes(node, len(dims))
        if any(dims[axis] != ONE for axis in axes):
            raise AmbiguousError("it removes a length")
        return tuple(dim for axis, dim in enumerate(dims) if axis not in axes)

    def _rewrite(self, node: ir.Node, position: int, old: Sequence[int], new: Sequence[int]) -> None:
        """If a number changed, give this node its own constant; other nodes may use the old one."""
        if list(old) == list(new):
            return
        value = integer_initializer(f"{node.outputs[0].name}.bound_{position}", new)
        self.graph.initializers[str(value.name)] = value
        node.replace_input_with(position, value)
