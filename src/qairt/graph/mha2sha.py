"""Split multi-head attention (MHA) into single heads (SHA), which the NPU schedules best.

1. A projection becomes one MatMul (+ Add) per head, with that head's columns of the weight.
2. Operations on all query heads become one per query head; those on keys and values one per KV head.
3. Each KV head reads its slice of the cache inputs; the cache outputs concatenate the KV heads, so inputs and outputs
   keep their names and shapes. Without a cache there is nothing to do.
4. A tensor of one head has the name of the original tensor plus `.h{n}` or `.kv{n}`, and its encoding. Weight encodings
   are cut by column, exactly.
5. Cut weights go to one new file; all other weights stay where they are.
6. A norm over all heads stays whole, and each head is cut from its result.
7. A LoRA branch keeps its inputs: all heads share x @ A, and each multiplies it by its columns of B. A B that
   is a weight is cut as the weight beside it.

Source: the per-head form is what the QAIRT compile workflow hands to the compiler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.graph.attention import Attention, Branch, Projection, find_attentions
from qairt.graph.constants import integer_constant
from qairt.graph.shapes import propagate
from qairt.graph.weights_file import append, external, read
from qairt.quant.encodings import Encoding, Encodings

_ONE_HEAD = re.compile(r"\.(h|kv)\d+$")


@dataclass(frozen=True)
class SingleHeads:
    """A graph with separate heads and the encodings of its tensors."""

    model: ir.Model
    encodings: Encodings


def to_single_heads(model: ir.Model, encodings: Encodings, weights_directory: Path, weights_name: str) -> SingleHeads:
    """Separate the heads of every attention in `model`, in place.

    Args:
        model: bound (static shapes), with external float weights.
        encodings: of the graph's tensors; a tensor without one stays without.
        weights_directory, weights_name: the file for the cut projections.

    Raises:
        OtherAttention: the graph has no attention, or one of another structure; names the node. Nothing was changed.
    """
    result = Encodings(dict(encodings.activations), dict(encodings.params))
    path = weights_directory / weights_name
    with path.open("wb") as file:
        for attention in find_attentions(model):
            _Separation(model, attention, result, path, file).run()
    for value in list(model.graph.initializers.values()):
        if not value.uses():
            model.graph.initializers.pop(str(value.name))
            result.params.pop(str(value.name), None)
    propagate(model)
    return SingleHeads(model, result)


def whole_name(name: str) -> str:
    """The tensor whose name and encoding a tensor of one head has (rule 4); the name of any other tensor as it is."""
    return _ONE_HEAD.sub("", name)


class _Separation:
    """The separation of one attention."""

    def __init__(self, model: ir.Model, attention: Attention, encodings: Encodings, path: Path, file: BinaryIO) -> None:
        self.graph = model.graph
        self.attention = attention
        self.encodings = encodings
        self.path = path
        self.file = file
        self.nodes: list[ir.Node] = []
        self.shared: dict[ir.Value, ir.Value] = {}
        """What all heads share, x @ A of the branches with their strengths and the zeros beside sinks: old -> new."""

    def run(self) -> None:
        found = self.attention
        new_keys, new_values, keys, values = [], [], [], []
        for kv in range(found.kv_heads):
            suffix = f".kv{kv}"
            key = self._clone(found.key_steps, self._project(found.key, kv, suffix), suffix)
            value = self._project(found.value, kv, suffix)
            new_keys.append(key[found.new_key])
            new_values.append(value[found.new_value])
            keys.append(self._extend(found.keys, kv, new_keys[-1]))
            values.append(self._extend(found.values, kv, new_values[-1]))
        contexts = []
        for head in range(found.kv_heads * found.groups):
            suffix, kv = f".h{head}", head // found.groups
            mapping = self._clone(found.query_steps, self._project(found.query, head, suffix), suffix)
            mapping[_required(found.scores.inputs[1])] = keys[kv]
            mapping[_required(found.context.inputs[1])] = values[kv]
            if found.sink is not None:
                mapping[found.sink[1].outputs[0]] = self._sink(*found.sink, head, suffix)
            mapping = self._clone([found.scores, *found.score_steps, found.context], mapping, suffix)
            contexts.append(mapping[found.context.outputs[0]])
        merged = self._merged(found.to_tokens.outputs[0], contexts, axis=-1)
        results = {found.to_tokens.outputs[0]: merged}
        if found.keys is not None:
            results[found.new_key] = self._merged(found.new_key, new_keys, axis=0)
            results[found.new_value] = self._merged(found.new_value, new_values, axis=0)
        self._replace(results | self.shared)

    # Pieces of one head

    def _project(self, projection: Projection, head: int, suffix: str) -> dict[ir.Value, ir.Value]:
        """Rule 1: [1, AR, in] -> this head's [1, 1, AR, D]."""
        dim = self.attention.head_dim
        columns = slice(head * dim, (head + 1) * dim)
        heads, shape = projection.transpose.outputs[0], integer_constant(self.graph.initializers, [1, 1, -1, dim])
        if projection.whole is not None:
            value = self._slice(projection.whole, columns.start, columns.stop, -1, suffix)
            return {heads: self._node("Reshape", [value, shape], heads, suffix)}
        weight = self._cut(projection.weight, columns, suffix)
        value = self._node("MatMul", [projection.matmul.inputs[0], weight], projection.matmul.outputs[0], suffix)
        if projection.bias is not None and projection.bias_value is not None:
            bias = self._cut(projection.bias_value, columns, suffix)
            value = self._node("Add", [value, bias], projection.bias.outputs[0], suffix)
        if projection.branch is not None:
            lifted = self._lifted(projection.branch, columns, suffix)
            value = self._node("Add", [value, lifted], projection.branch.add.outputs[0], suffix)
        return {heads: self._node("Reshape", [value, shape], heads, suffix)}

    def _lifted(self, branch: Branch, columns: slice, suffix: str) -> ir.Value:
        """Rule 7."""
        low = branch.low[-1].outputs[0]
        if low not in self.shared:
            self.shared |= self._clone(branch.low, {}, "")
        if branch.b.is_graph_input():
            b = self._slice(branch.b, columns.start, columns.stop, 1, suffix)
        else:
            b = self._cut(branch.b, columns, suffix)
        return self._node("MatMul", [self.shared[low], b], branch.lifted.outputs[0], suffix)

    def _sink(self, reduce: ir.Node, add: ir.Node, head: int, suffix: str) -> ir.Value:
        """The sink of one head, of [KV, G, 1, 1]; all heads share the zeros."""
        zeros = reduce.outputs[0]
        if zeros not in self.shared:
            self.shared[zeros] = self._node("ReduceMax", reduce.inputs, zeros, "", list(reduce.attributes.values()))
        kv, group = divmod(head, self.attention.groups)
        sinks = _required(add.inputs[1])
        assert sinks.const_value is not None
        values = read(sinks.const_value)[kv : kv + 1, group : group + 1]
        sink = self._new_weight(sinks, values, self.encodings.params.get(str(sinks.name)), suffix)
        return self._node("Add", [self.shared[zeros], sink], add.outputs[0], suffix)

    def _slice(self, value: ir.Value, start: int, stop: int, axis: int, suffix: str) -> ir.Value:
        bounds = [integer_constant(self.graph.initializers, [number]) for number in (start, stop, axis)]
        return self._node("Slice", [value, *bounds], value, suffix)

    def _extend(self, concat: ir.Node | None, kv: int, new: ir.Value) -> ir.Value:
        """Past and new keys or values of a KV head; without a cache the new ones."""
        if concat is None:
            return new
        past = self._slice(_required(concat.inputs[0]), kv, kv + 1, 0, f".kv{kv}")
        return self._node("Concat", [past, new], concat.outputs[0], f".kv{kv}", list(concat.attributes.values()))

    def _clone(
        self,
        nodes: Sequence[ir.Node],
        mapping: dict[ir.Value, ir.Value],
        suffix: str,
    ) -> dict[ir.Value, ir.Value]:
        """Rule 2: the same operations on one head's tensors."""
        mapping = dict(mapping)
        for node in nodes:
            inputs = [mapping.get(value, value) if value is not None else None for value in node.inputs]
            attributes = list(node.attributes.values())
            mapping[node.outputs[0]] = self._node(node.op_type, inputs, node.outputs[0], suffix, attributes)
        return mapping

    def _merged(self, old: ir.Value, parts: Sequence[ir.Value], *, axis: int) -> ir.Value:
        """Rule 3: concatenate the heads under the old name."""
        if len(parts) == 1:
            parts[0].name, old_name = old.name, parts[0].name
            self.encodings.activations.pop(str(old_name), None)
            return parts[0]
        return self._node("Concat", parts, old, "", [ir.AttrInt64("axis", axis)])

    def _cut(self, weight: ir.Value, columns: slice, suffix: str) -> ir.Value:
        """Rule 5: write some columns of [in, out], or values of a bias [out], to the new file."""
        assert weight.const_value is not None
        values = read(weight.const_value)[..., columns]
        encoding = self.encodings.params.get(str(weight.name))
        if encoding is not None:
            encoding = encoding.cut(values.ndim - 1, columns.start, columns.stop)
        return self._new_weight(weight, values, encoding, suffix)

    def _new_weight(
        self, weight: ir.Value, values: NDArray[np.float32], encoding: Encoding | None, suffix: str
    ) -> ir.Value:
        """A part of a weight, written to the new file."""
        name = f"{weight.name}{suffix}"
        tensor = external(name, append(self.file, values), self.path)
        if encoding is not None:
            self.encodings.params[name] = encoding
        cut = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(ir.DataType.FLOAT))
        self.graph.initializers[name] = cut
        return cut

    def _node(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        like: ir.Value,
        suffix: str,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        name = f"{like.name}{suffix}"
        node = ir.Node("", op, inputs, attributes, name=f"{op}:{name}")
        value = node.outputs[0]
        value.name, value.dtype = name, ir.DataType.FLOAT
        encoding = self.encodings.activations.get(str(like.name))
        if encoding is not None:  # rule 4
            self.encodings.activations[name] = encoding
        self.nodes.append(node)
        return value

    # Replacing

    def _replace(self, results: Mapping[ir.Value, ir.Value]) -> None:
        """Replace the old nodes by the new ones."""
        old_nodes = self.attention.nodes
        kept = {str(value.name) for value in results}
        self.graph.insert_before(old_nodes[0], self.nodes)
        for old, new in results.items():
            for node, index in list(old.uses()):
                if node not in old_nodes:
                    node.replace_input_with(index, new)
            for index, output in enumerate(self.graph.outputs):
                if output is old:
                    self.graph.outputs[index] = new
        for node in old_nodes:
            for value in node.outputs:
                if str(value.name) not in kept:
                    self.encodings.activations.pop(str(value.name), None)
        self.graph.remove(old_nodes, safe=True)


def _required(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value
