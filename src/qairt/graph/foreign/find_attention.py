"""Find the attention of a layer in a graph of any exporter, by its structure.

1. A cache input is extended by one Concat; what that gives reaches a MatMul with the query, data moved, scaled and
   repeated on the way.
2. Scales and a mask lie between the scores and the Softmax. A Where that replaces rows without any token may follow.
3. The probabilities reach a MatMul with the values.
4. What differs is an error that names the node and the form that it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph.foreign.layout import MOVES, Places, moved, start
from qairt.graph.shapes import node_text, static
from qairt.model.names import past_names


@dataclass
class Layer:
    """One layer's attention, as found."""

    number: int
    scores: ir.Node
    softmax: ir.Node
    context: ir.Node
    keys: ir.Node
    values: ir.Node
    key_scale: float
    kv_heads: int
    heads: int
    dim: int


class AttentionFinder:
    """Finds the attention of one graph's layers."""

    def __init__(
        self, graph: ir.Graph, tokens: int, cl: int, is_side: Callable[[ir.Value], bool], names: dict[str, str]
    ) -> None:
        """
        Args:
            tokens, cl: AR and CL of the graph.
            is_side: whether a tensor depends on masks, positions and constants only.
            names: the graph's own names of its inputs and outputs, by ours.
        """
        self.graph = graph
        self.tokens = tokens
        self.cl = cl
        self.is_side = is_side
        self.names = names
        self.masks: list[tuple[ir.Node, int]] = []
        """Where a mask is read: node and place of the input."""

    def find(self, number: int) -> Layer:
        """Layer `number`.

        Raises:
            GraphError: it has another structure; names the node.
        """
        keys, values = (self._extended(self.input(name)) for name in past_names(number))
        scores, key_scale, key_places = self._reach(keys)
        softmax = self._softmax(scores)
        context = self._context(softmax)
        reached, value_scale, value_places = self._reach(values)
        if reached is not context or value_scale != 1.0:
            raise differs(context, "a MatMul of the probabilities with the cached values")
        cache = static(keys.outputs[0])
        dim = static(values.outputs[0])[-1]
        kv = int(np.prod(cache)) // (self.cl * dim)
        query = static(scores.inputs[0])
        heads = int(np.prod(query)) // (self.tokens * dim)
        if query[-2:] != (self.tokens, dim) or not kv or heads % kv:
            raise differs(scores, f"a query [.., AR, {dim}] of a multiple of {kv} heads, but it is {list(query)}")
        self._require_repeats(scores, key_places.swapaxes(-1, -2), keys, kv, heads)
        self._require_repeats(context, value_places, values, kv, heads)
        return Layer(number, scores, softmax, context, keys, values, key_scale, kv, heads, dim)

    def input(self, name: str) -> ir.Value:
        """The graph's input of a name."""
        return next(value for value in self.graph.inputs if value.name == name)

    def _extended(self, past: ir.Value) -> ir.Node:
        """The Concat of a cache input with the new tokens."""
        users = [node for node, _ in past.uses() if node.op_type == "Concat"]
        shown = self.names.get(str(past.name), str(past.name))
        if len(users) != 1 or len(users[0].inputs) != 2 or users[0].inputs[0] is not past:
            readers = ", ".join(sorted({node_text(node) for node, _ in past.uses()})) or "nothing"
            raise GraphError(
                f"its attention has an unknown form: {readers} reads the cache",
                where=f"input {shown}",
                remedy="export it so that one Concat per layer appends the new keys to the cache input, and one the"
                " values",
            )
        return users[0]

    def _reach(self, concat: ir.Node) -> tuple[ir.Node, float, Places]:
        """The MatMul that reads the cache, the scale on the way, and the places of the cache's elements there."""
        value, scale = concat.outputs[0], 1.0
        places = start(static(value))
        while True:
            users = [node for node, _ in value.uses() if node.op_type != "Shape"]
            if len(users) != 1:
                raise differs(concat, f"one reader of {value.name}, but {len(users)} read it")
            (node,) = users
            if node.op_type == "MatMul":
                if node.inputs[1] is not value:
                    raise differs(node, "the cache as the second input of this MatMul")
                return node, scale, places
            if node.op_type in MOVES:
                places = moved(places, node)
            elif node.op_type in ("Mul", "Div") and (factor := _scalar(node, value)) is not None:
                scale = scale * factor if node.op_type == "Mul" else scale / factor
            else:
                raise differs(node, "only Transpose, Reshape, Expand and a scale between the cache and its MatMul")
            value = node.outputs[0]

    def _softmax(self, scores: ir.Node) -> ir.Node:
        """The Softmax of the scores; notes where the mask is read."""
        value = scores.outputs[0]
        while True:
            users = [node for node, _ in value.uses()]
            if len(users) != 1:
                raise differs(scores, f"one reader of {value.name}, but {len(users)} read it")
            (node,) = users
            if node.op_type == "Softmax":
                return node
            others = [(place, other) for place, other in enumerate(node.inputs) if other is not value]
            if node.op_type == "Add" and len(others) == 1 and self._is_mask(others[0][1]):
                self.masks.append((node, others[0][0]))
            elif node.op_type == "Where" and node.inputs[0] is not value and self._is_mask(node.inputs[0]):
                self.masks.append((node, 0))
            elif not (node.op_type in ("Mul", "Div", "Tanh") and all(_is_constant(other) for _, other in others)):
                raise differs(node, "only a scale, a mask and a Softmax between the scores and the probabilities")
            value = node.outputs[0]

    def _is_mask(self, value: ir.Value | None) -> bool:
        return value is not None and self.is_side(value) and static(value)[-1:] == (self.cl,)

    def _context(self, softmax: ir.Node) -> ir.Node:
        """The MatMul with the values."""
        value = softmax.outputs[0]
        while True:
            users = [node for node, _ in value.uses() if node.op_type != "IsNaN"]
            if len(users) == 1 and users[0].op_type == "MatMul" and users[0].inputs[0] is value:
                return users[0]
            if len(users) != 1 or users[0].op_type != "Where":
                raise differs(users[0] if users else softmax, "a MatMul of the probabilities with the cached values")
            value = users[0].outputs[0]

    def _require_repeats(self, node: ir.Node, places: Places, concat: ir.Node, kv: int, heads: int) -> None:
        """The cache's heads must be repeated one after another, as grouped-query attention pairs them."""
        dim = places.shape[-1]
        order = static(concat.outputs[0])
        axis = concat.attributes["axis"].as_int() % len(order)
        # [.., heads of the cache, CL, D] or, for transposed keys, [.., D, CL]
        token_last = axis == len(order) - 1
        kv_of = (places[..., 0, 0] // (self.cl * dim)).reshape(-1)
        inner = np.arange(self.cl)[:, None] + np.arange(dim) * self.cl if token_last else start((self.cl, dim))
        expected = kv_of.reshape(places.shape[:-2])[..., None, None] * (self.cl * dim) + inner
        per_query = np.broadcast_to(kv_of, (heads,)) if len(kv_of) == 1 else kv_of
        wanted = np.arange(heads) // (heads // kv)
        if len(per_query) == kv and kv != heads:  # grouped by broadcasting
            per_query = np.repeat(per_query, heads // kv)
        if not np.array_equal(places, expected) or not np.array_equal(per_query, wanted):
            raise differs(node, "key and value heads, each repeated for the query heads of its group")


def _scalar(node: ir.Node, value: ir.Value) -> float | None:
    """The number that `node` multiplies `value` with, or divides it by."""
    other = next((part for part in node.inputs if part is not value), None)
    if other is None or other.const_value is None or other.const_value.size != 1:
        return None
    if node.op_type == "Div" and node.inputs[0] is not value:
        return None
    return float(other.const_value.numpy().reshape(()))


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and value.const_value.size == 1


def differs(node: ir.Node, expected: str) -> GraphError:
    return GraphError(
        f"this attention has a form that cannot be adopted: expected {expected}",
        where=node_text(node),
        remedy="export attention as torch writes it: linear layers, Reshape and Transpose to heads, a Concat with the"
        " cache, MatMul, mask, Softmax, MatMul",
    )
