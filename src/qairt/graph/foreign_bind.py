"""Bind a foreign graph, exported for one AR and CL, to others.

1. The inputs say what AR and CL are: `input_ids` [1, AR], `attention_mask` [1, 1, AR, CL], caches [.., CL - AR ..].
2. Their meaning is carried through every operation (`foreign_dims`).
3. Reshape targets, Expand shapes and Slice bounds that mean a length get the new one; every other number stays.
4. What cannot be proven is an error that names the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph import shapes
from qairt.graph.foreign_dims import ONE, AmbiguousError, Dim, Dims, Lengths, bound, broadcast, concat, fixed, reshape

_CACHES = "past_key_{i}_in, past_value_{i}_in"


def bind_foreign(model: ir.Model, *, ar: int, cl: int) -> ir.Model:
    """`model`, changed in place, for `ar` and `cl`.

    Raises:
        GraphError: CL is not larger than AR, an operation is not supported, or a number's meaning cannot be proven.
    """
    if cl <= ar:
        raise GraphError(
            f"context length {cl} must be larger than the auto-regressive length {ar}",
            where=str(model.graph.name),
            remedy="raise context_length or lower arn",
        )
    binding = _Binding(model, lengths_of(model), Lengths(ar, cl))
    binding.run()
    shapes.propagate(model)
    model.graph.name = f"ar{ar}-cl{cl}"
    return model


def lengths_of(model: ir.Model) -> Lengths:
    """The AR and CL that a graph was exported for.

    Raises:
        GraphError: an input that says it is missing, or they do not agree.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, rank in (("input_ids", 2), ("attention_mask", 4)):
        if name not in inputs or inputs[name].shape is None or len(inputs[name].shape or ()) != rank:
            raise GraphError(
                f"it has no input {name} with {rank} dimensions",
                where=str(model.graph.name),
                remedy=f"name the inputs input_ids [1, AR], attention_mask [1, 1, AR, CL], {_CACHES}",
            )
    ar, mask = shapes.static(inputs["input_ids"])[1], shapes.static(inputs["attention_mask"])
    if mask[2] != ar or mask[3] <= ar:
        raise GraphError(
            f"attention_mask {list(mask)} does not fit input_ids [1, {ar}]",
            where="input attention_mask",
            remedy="it must be [1, 1, AR, CL] with AR smaller than CL",
        )
    return Lengths(ar, mask[3])


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
            "Reshape": self._reshape,
            "Slice": self._slice,
            "Transpose": self._transpose,
            "Unsqueeze": self._unsqueeze,
            **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), self._elementwise),
            **dict.fromkeys(("Softmax", "Sigmoid", "Sqrt", "Cast", "Identity", "RMSNormalization"), self._same),
        }

    def run(self) -> None:
        for value in self.graph.inputs:
            self._bind_input(value)
        for node in list(self.graph):
            where = f"node {node.name or node.outputs[0].name} ({node.op_type})"
            rule = self.rules.get(node.op_type)
            if rule is None:
                raise GraphError(
                    f"the operation {node.op_type} is not supported",
                    where=where,
                    remedy=f"export the decoder with these operations only: {', '.join(sorted(self.rules))}",
                )
            try:
                self.dims[node.outputs[0]] = rule(node)
            except AmbiguousError as error:
                raise GraphError(
                    f"what AR {self.old.ar} and CL {self.old.cl} become here is ambiguous: {error}",
                    where=where,
                    remedy="export it with other lengths, such as AR 128 and CL 4096 that no layer size equals",
                ) from error

    # Inputs

    def _bind_input(self, value: ir.Value) -> None:
        name, sizes = str(value.name), shapes.static(value)
        places: dict[int, str] = {}
        if name == "input_ids":
            places = {1: "ar"}
        elif name == "attention_mask":
            places = {2: "ar", 3: "cl"}
        elif name in ("position_ids_cos", "position_ids_sin"):
            places = {2: "ar"}
        elif name.startswith("past_key_"):
            places = {3: "past"}
        elif name.startswith("past_value_"):
            places = {2: "past"}
        else:
            raise GraphError(
                f"what the dimensions of {name} {list(sizes)} mean is not known",
                where=f"input {name}",
                remedy=f"inputs are input_ids, attention_mask, position_ids_cos, position_ids_sin, {_CACHES}",
            )
        for place, symbol in places.items():
            if sizes[place] != self.old.of(symbol):
                raise GraphError(
                    f"dimension {place} of {name} is {sizes[place]}, not {symbol} = {self.old.of(symbol)}",
                    where=f"input {name}",
                    remedy="export all inputs for the same AR and CL",
                )
        dims = tuple(Dim(1, places[place]) if place in places else Dim(size) for place, size in enumerate(sizes))
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
            raise AmbiguousError("the inner dimensions mean different things")
        return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1]) if len(a) > 2 or len(b) > 2 else (a[-2], b[-1])

    def _gather(self, node: ir.Node) -> Dims:
        table, ids = self._of(node.inputs[0]), self._of(node.inputs[1])
        axis = node.attributes["axis"].as_int() % len(table) if "axis" in node.attributes else 0
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
        axes = shapes.constant(node.inputs[3]) if len(node.inputs) > 3 else list(range(len(starts)))
        steps = shapes.constant(node.inputs[4]) if len(node.inputs) > 4 else [1] * len(starts)
        new_starts, new_ends = list(starts), list(ends)
        for place, axis in enumerate(axes):
            dim = dims[axis]
            for literals, renewed in ((starts, new_starts), (ends, new_ends)):
                meaning = bound(dim, literals[place], self.old)
                if meaning is not None:
                    sign = -1 if literals[place] < 0 else 1
                    renewed[place] = sign * self.new.of(meaning)
            size = len(range(*slice(starts[place], ends[place], steps[place]).indices(dim.at(self.old))))
            if dim.symbol is None:
                dims[axis] = Dim(size)
            elif size != dim.at(self.old):
                kept = [symbol for symbol in ("ar", "past") if size == self.old.of(symbol)]
                if len(kept) != 1:
                    raise AmbiguousError(f"it keeps {size} of {dim.at(self.old)}")
                dims[axis] = Dim(1, kept[0])
        self._rewrite(node, 1, starts, new_starts)
        self._rewrite(node, 2, ends, new_ends)
        return tuple(dims)

    def _rewrite(self, node: ir.Node, place: int, old: Sequence[int], new: Sequence[int]) -> None:
        """Give this node a constant of its own where a number changed; the old one may serve other nodes."""
        if list(old) == list(new):
            return
        name = f"{node.outputs[0].name}.bound_{place}"
        tensor = ir.tensor(np.array(new, np.int64), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape([len(new)]), type=ir.TensorType(tensor.dtype))
        self.graph.initializers[name] = value
        node.replace_input_with(place, value)
