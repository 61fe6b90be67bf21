"""Rewrite one layer's attention to the form of our own export, whatever the exporter made of it.

1. It is found by its structure (`find_attention`).
2. Query, key and value are followed back to their linear layers. Norms and rotary steps stay, on [KV, group, AR, D].
3. The cache becomes [KV, 1, D, past] for keys and [KV, 1, past, D] for values; only the new tokens' are output.
4. A scale on the keys moves to the query. A Where that replaces rows without any token is removed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from qairt.graph.constants import integer_constant
from qairt.graph.foreign.find_attention import AttentionFinder, Layer, differs
from qairt.graph.foreign.layout import MOVES, Places, heads_of, moved, start
from qairt.graph.foreign.tidy import new_node
from qairt.graph.shapes import constant, static
from qairt.model.names import past_names, present_names

ALONG_CHANNELS = ("RMSNormalization", "LayerNormalization", "ReduceMean", "Slice", "Concat", "Softmax")
"""Steps that work along one axis, which must be the channels of a head."""
STEPS = ("Mul", "Add", "Sub", "Div", "Neg", "Pow", "Sqrt", "Reciprocal", *ALONG_CHANNELS)


class HeadsRewriter(AttentionFinder):
    """Rewrites the attention of one graph."""

    def __init__(
        self, graph: ir.Graph, tokens: int, cl: int, is_side: Callable[[ir.Value], bool], names: dict[str, str]
    ) -> None:
        super().__init__(graph, tokens, cl, is_side, names)
        self.rotary: list[tuple[ir.Node, int]] = []
        """Where a tensor that depends on positions is read by the steps of query and key."""
        self.like: dict[str, list[str]] = {}
        """New tensors, and the tensors whose encoding they have, the first that has one."""
        self.scaled: dict[str, tuple[str, float]] = {}
        """New tensors that are another one times a number."""

    def rewrite(self, number: int) -> None:
        """Rewrite layer `number`.

        Raises:
            GraphError: it has another structure; names the node.
        """
        layer = self.find(number)
        key_in, value_in = (self.input(name) for name in past_names(number))
        key_out, value_out = present_names(number)
        query = self._rebuild(_given(layer.scores.inputs[0]), layer, layer.heads, layer.scores)
        key = self._rebuild(_given(layer.keys.inputs[1]), layer, layer.kv_heads, layer.keys)
        value = self._rebuild(_given(layer.values.inputs[1]), layer, layer.kv_heads, layer.values)
        if layer.key_scale != 1.0:
            query = self._scaled_query(query, layer)
        kv, dim, past = layer.kv_heads, layer.dim, self.cl - self.tokens
        key_in.shape, value_in.shape = ir.Shape([kv, 1, dim, past]), ir.Shape([kv, 1, past, dim])
        key_name, value_name = str(layer.keys.outputs[0].name), str(layer.values.outputs[0].name)
        for value_of in (layer.keys.outputs[0], layer.values.outputs[0]):
            value_of.name = f"{value_of.name}.before"
        for output in self.graph.outputs:
            if output.name in (key_out, value_out):
                output.name = f"{output.name}.before"
        new_key = self._node(layer.scores, "Transpose", [key], key_out, perm=(0, 1, 3, 2))
        new_value = self._named(value, value_out, layer.scores)
        all_keys = self._node(layer.scores, "Concat", [key_in, new_key], self._own(key_name, key_out, "keys"), axis=3)
        all_values = self._node(
            layer.scores, "Concat", [value_in, new_value], self._own(value_name, value_out, "values"), axis=2
        )
        layer.scores.replace_input_with(0, query)
        layer.scores.replace_input_with(1, all_keys)
        layer.context.replace_input_with(0, layer.softmax.outputs[0])
        layer.context.replace_input_with(1, all_values)
        layer.softmax.attributes["axis"] = ir.AttrInt64("axis", -1)
        for place, output in enumerate(self.graph.outputs):
            for name, new in ((key_out, new_key), (value_out, new_value)):
                if output.name == f"{name}.before":
                    self.graph.outputs[place] = new
        for ours, theirs, new, cached in (
            (key_in, key_name, new_key, all_keys),
            (value_in, value_name, new_value, all_values),
        ):
            tied = [str(cached.name), theirs, self.names.get(str(new.name), ""), self.names.get(str(ours.name), "")]
            self.like |= dict.fromkeys((str(ours.name), str(new.name), str(cached.name)), tied)
        self._to_tokens(layer)

    # Rule 2

    def _rebuild(self, value: ir.Value, layer: Layer, heads: int, user: ir.Node) -> ir.Value:
        """`value` as [KV, group, AR, D], from its linear layer on."""
        rebuilt: dict[ir.Value, ir.Value] = {}
        places = self._places(value, heads, layer.dim, {}, user)
        if value.shape is not None and static(value)[-2:] == (layer.dim, self.tokens) and places is not None:
            places = places.swapaxes(-1, -2)  # keys that are cached transposed
        found = None if places is None else heads_of(places, self.tokens, layer.dim)
        if found is None or not np.array_equal(found.reshape(-1), np.arange(heads)):
            raise differs(
                user, f"{heads} heads of {layer.dim} channels in {value.name}, cut from a linear layer in order"
            )
        return self._cloned(value, layer, heads, rebuilt)

    def _places(
        self, value: ir.Value, heads: int, dim: int, known: dict[ir.Value, Places | None], user: ir.Node
    ) -> Places | None:
        """The places of the elements in the linear layer's output [AR, heads * D]; None for what no head has."""
        if value not in known:
            known[value] = self._followed(value, heads, dim, known, user)
        return known[value]

    def _followed(
        self, value: ir.Value, heads: int, dim: int, known: dict[ir.Value, Places | None], user: ir.Node
    ) -> Places | None:
        node = value.producer()
        if self.is_side(value):
            return None
        if node is None:
            raise differs(user, f"a linear layer before it, but {value.name} is an input")
        if _is_linear(value, self.tokens * heads * dim):
            return start(static(value))
        inputs = [self._places(part, heads, dim, known, node) for part in node.inputs if part is not None]
        followed = [places for places in inputs if places is not None]
        if node.op_type in MOVES:
            (places,) = followed
            if places.shape != static(node.inputs[0]):
                raise differs(node, "no data movement of a part of a head")
            return moved(places, node)
        if node.op_type not in STEPS:
            raise differs(node, f"only norms, rotary steps and data movement ({', '.join(STEPS)}) before the scores")
        first = followed[0]
        by_channel = first.ndim >= 2 and first.shape[-1] == dim and (np.diff(first, axis=-1) == 1).all()
        if not by_channel or any(not np.array_equal(first, other) for other in followed[1:]):
            raise differs(node, f"the {dim} channels of a head as the last axis")
        if node.op_type in ALONG_CHANNELS and not _along_last(node):
            raise differs(node, "this step along the channels of a head, its last axis")
        return first

    def _cloned(self, value: ir.Value, layer: Layer, heads: int, rebuilt: dict[ir.Value, ir.Value]) -> ir.Value:
        """Move the steps behind `value` to the canonical layout, in place."""
        if value in rebuilt:
            return rebuilt[value]
        node = value.producer()
        if node is None or self.is_side(value):
            return value
        if _is_linear(value, self.tokens * heads * layer.dim):
            rebuilt[value] = self._heads_first(value, layer, heads)
        elif node.op_type in MOVES:
            rebuilt[value] = self._cloned(_given(node.inputs[0]), layer, heads, rebuilt)
        else:
            for place, part in enumerate(node.inputs):
                if part is None:
                    continue
                if self.is_side(part) and part.const_value is None:
                    self.rotary.append((node, place))
                elif not self.is_side(part):
                    node.replace_input_with(place, self._cloned(part, layer, heads, rebuilt))
            _point_to_last(self.graph, node)
            rebuilt[value] = value
        return rebuilt[value]

    def _heads_first(self, linear: ir.Value, layer: Layer, heads: int) -> ir.Value:
        """[1, AR, heads * D] -> [KV, group, AR, D]."""
        after = linear.producer()
        assert after is not None
        kv, groups = layer.kv_heads, heads // layer.kv_heads
        shape = integer_constant(self.graph.initializers, [-1, kv, groups, layer.dim])
        following = _after(self.graph, after)
        split = self._node(following, "Reshape", [linear, shape], f"{linear.name}.heads")
        turned = self._node(following, "Transpose", [split], f"{linear.name}.heads_first", perm=(1, 2, 0, 3))
        self.like |= {str(new.name): [str(linear.name)] for new in (split, turned)}
        return turned

    # Rules 3 and 4

    def _scaled_query(self, query: ir.Value, layer: Layer) -> ir.Value:
        name = f"{query.name}.scaled"
        tensor = ir.tensor(np.array(layer.key_scale, np.float32), name=f"{name}.scale")
        scale = ir.Value(
            name=tensor.name, const_value=tensor, shape=ir.Shape(()), type=ir.TensorType(ir.DataType.FLOAT)
        )
        self.graph.initializers[str(scale.name)] = scale
        self.scaled[name] = (str(query.name), abs(layer.key_scale))
        return self._node(layer.scores, "Mul", [query, scale], name)

    def _to_tokens(self, layer: Layer) -> None:
        """The context as [1, AR, heads * D] again."""
        value = layer.context.outputs[0]
        width = layer.heads * layer.dim
        places = start((layer.heads, self.tokens, layer.dim)).reshape(static(value))
        wanted = start((layer.heads, self.tokens, layer.dim)).transpose(1, 0, 2)
        while not (static(value)[-1] == width and np.array_equal(places.reshape(-1), wanted.reshape(-1))):
            users = [node for node, _ in value.uses()]
            if len(users) != 1 or users[0].op_type not in MOVES:
                raise differs(
                    users[0] if users else layer.context,
                    f"the heads of the context side by side, [1, AR, {width}], before the next operation",
                )
            places = moved(places, users[0])
            value = users[0].outputs[0]
        size = list(static(value))
        size[size.index(self.tokens)] = -1
        context = layer.context.outputs[0]
        following = _after(self.graph, layer.context)
        tokens = self._node(following, "Transpose", [context], f"{context.name}.tokens", perm=(2, 0, 1, 3))
        shape = integer_constant(self.graph.initializers, size)
        merged = self._node(following, "Reshape", [tokens, shape], f"{context.name}.merged")
        self.like |= {str(tokens.name): [str(context.name)], str(merged.name): [str(context.name)]}
        value.replace_all_uses_with(merged)

    def _named(self, value: ir.Value, name: str, before: ir.Node) -> ir.Value:
        """`value` under `name`; linear layers without steps give a tensor that is new anyway."""
        self.like[name] = [str(value.name)]
        value.name = name
        return value

    def _own(self, found: str, ours: str, kind: str) -> str:
        """How the whole cache is called: by the graph's own name of its output, if that is the whole cache."""
        return self.names.get(found, f"{ours}.{kind}" if found == ours else found)

    def _node(
        self, before: ir.Node, op: str, inputs: list[ir.Value], out: str, **attributes: int | tuple[int, ...]
    ) -> ir.Value:
        return new_node(self.graph, before, op, inputs, out, attributes)


def _is_linear(value: ir.Value, elements: int) -> bool:
    """The output of a MatMul with a weight, or of the Add of its bias."""
    node = value.producer()
    if node is None or int(np.prod(static(value))) != elements:
        return False
    if node.op_type == "Add":
        constants = [part for part in node.inputs if part is not None and part.const_value is not None]
        others = [part for part in node.inputs if part is not None and part.const_value is None]
        return len(constants) == len(others) == 1 and _is_linear(others[0], elements)
    weight = node.inputs[1] if node.op_type == "MatMul" else None
    return weight is not None and weight.const_value is not None


def _along_last(node: ir.Node) -> bool:
    rank = len(static(node.inputs[0]))
    if node.op_type == "Slice":
        axes = constant(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else [0]
    elif node.op_type == "ReduceMean":
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else []
    else:
        axes = [node.attributes["axis"].as_int() if "axis" in node.attributes else -1]
    return [axis % rank for axis in axes] == [rank - 1]


def _point_to_last(graph: ir.Graph, node: ir.Node) -> None:
    """Count the axis of a step from the end: its rank may have changed."""
    if node.op_type in ("Slice", "ReduceMean"):
        node.replace_input_with(3 if node.op_type == "Slice" else 1, integer_constant(graph.initializers, [-1]))
    elif "axis" in node.attributes:
        node.attributes["axis"] = ir.AttrInt64("axis", -1)


def _after(graph: ir.Graph, node: ir.Node) -> ir.Node:
    """The node that follows `node` in the graph."""
    nodes = iter(graph)
    for found in nodes:
        if found is node:
            return next(nodes)
    raise AssertionError("the node is not in the graph")


def _given(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value
