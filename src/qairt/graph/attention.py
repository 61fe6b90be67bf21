"""Find attention in a graph by its structure, starting at the cache inputs, never by name. An embedding model has no
cache: there the transposed keys are where it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph.shapes import constant, static


class OtherAttention(GraphError):  # noqa: N818 - it says what was found; the graph itself is not wrong
    """There is no attention in a graph, or one that cannot be separated into heads. Names the node that differs."""


HEADS_FIRST = (1, 2, 0, 3)
TOKENS_FIRST = (2, 0, 1, 3)
KEYS_TRANSPOSED = (0, 1, 3, 2)


@dataclass(frozen=True)
class Branch:
    """The LoRA branch of a linear layer: MatMul with A, Mul with strengths where it is switched, MatMul with B, Add to
    the layer's own result. A and B are graph inputs, or weights of a branch that is switched."""

    low: Sequence[ir.Node]
    """What gives [AR, R]."""
    lifted: ir.Node
    add: ir.Node

    @property
    def b(self) -> ir.Value:
        """[R, out]"""
        return _required(self.lifted.inputs[1])


@dataclass(frozen=True)
class Projection:
    """A linear layer and the split into heads: MatMul (+ Add) (+ branch), Reshape [AR, KV, G, D], Transpose
    [KV, G, AR, D]. With a norm over all heads before the Reshape, the heads are cut from what that gives."""

    matmul: ir.Node
    bias: ir.Node | None
    branch: Branch | None
    reshape: ir.Node
    transpose: ir.Node
    whole: ir.Value | None = None
    """The result of the norm over all heads."""

    @property
    def nodes(self) -> list[ir.Node]:
        """All that separate heads replace."""
        if self.whole is not None:
            return [self.reshape, self.transpose]
        branch = (*self.branch.low, self.branch.lifted, self.branch.add) if self.branch is not None else ()
        nodes = (self.matmul, self.bias, *branch, self.reshape, self.transpose)
        return [node for node in nodes if node is not None]

    @property
    def weight(self) -> ir.Value:
        return _required(self.matmul.inputs[1])

    @property
    def bias_value(self) -> ir.Value | None:
        if self.bias is None:
            return None
        return next(value for value in self.bias.inputs if value is not None and value.const_value is not None)


@dataclass(frozen=True)
class Attention:
    """One layer's attention."""

    query: Projection
    key: Projection
    value: Projection
    query_steps: list[ir.Node]
    """From the query heads to the scores (norm, rotary), in order."""
    key_steps: list[ir.Node]
    """From the key heads to the new keys [KV, 1, D, AR], in order."""
    new_key: ir.Value
    """[KV, 1, D, AR]"""
    new_value: ir.Value
    keys: ir.Node | None
    """Concat of past and new keys; None without a cache."""
    values: ir.Node | None
    scores: ir.Node
    score_steps: list[ir.Node]
    """From the scores to the probabilities (scale, mask, sink, softmax), in order."""
    context: ir.Node
    sink: tuple[ir.Node, ir.Node] | None
    """What makes zeros [1, 1, AR, 1], and what adds the heads' sinks [KV, G, 1, 1] to them; None without sinks."""
    to_tokens: ir.Node
    """Transpose of the context to [AR, KV, G, D]."""
    kv_heads: int
    groups: int
    head_dim: int

    @property
    def nodes(self) -> list[ir.Node]:
        """All nodes of this attention."""
        projections = [*self.query.nodes, *self.key.nodes, *self.value.nodes]
        cached = [node for node in (self.keys, self.values) if node is not None]
        steps = [*self.query_steps, *self.key_steps, *cached, self.scores, *(self.sink or ()), *self.score_steps]
        return [*projections, *steps, self.context, self.to_tokens]


def find_attentions(model: ir.Model) -> list[Attention]:
    """The attention of every layer, in order.

    Raises:
        OtherAttention: there is none, or one has another structure; names the node that differs.
    """
    inputs = set(model.graph.inputs)
    found = []
    for node in model.graph:
        if node.op_type != "MatMul":
            continue
        keys = _required(node.inputs[1]).producer()
        if keys is not None and (_extends_cache(keys, inputs) or _is_transpose(keys, KEYS_TRANSPOSED)):
            following = _find_context(node, inputs)
            if following is not None:
                found.append(_attention(node, inputs, *following))
    if not found:
        raise OtherAttention(
            "it has no attention: no MatMul reads a cache input concatenated with new keys",
            where=f"graph {model.graph.name}",
            remedy="a part that is only the embedding needs no conversion",
        )
    return found


def _extends_cache(node: ir.Node, inputs: set[ir.Value]) -> bool:
    return node.op_type == "Concat" and len(node.inputs) == 2 and node.inputs[0] in inputs


def _is_transpose(node: ir.Node, perm: tuple[int, ...]) -> bool:
    return node.op_type == "Transpose" and tuple(node.attributes["perm"].as_ints()) == perm


def _find_context(scores: ir.Node, inputs: set[ir.Value]) -> tuple[list[ir.Node], ir.Node] | None:
    """The steps from the scores to the probabilities, and the MatMul of them and the values."""
    steps: list[ir.Node] = []
    node = scores
    while True:
        users = [use.node for use in node.outputs[0].uses()]
        if len(users) != 1:
            return None
        (node,) = users
        if node.op_type == "MatMul":
            values = _required(node.inputs[1]).producer()
            is_found = values is not None and (_extends_cache(values, inputs) or _is_transpose(values, HEADS_FIRST))
            return (steps, node) if is_found else None
        joins_sink = node.op_type == "Concat" and len(node.inputs) == 2 and _sink(node) is not None
        leaves_sink = node.op_type == "Slice" and steps and steps[-1].op_type == "Softmax"
        if node.op_type not in ("Add", "Mul", "Div", "Tanh", "Softmax") and not joins_sink and not leaves_sink:
            return None
        steps.append(node)


def _sink(node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """A ReduceMax, and the Add of a weight to it whose result a Concat puts beside scores."""
    add = _required(node.inputs[-1]).producer() if node.op_type == "Concat" else None
    if add is None or add.op_type != "Add" or _required(add.inputs[1]).const_value is None:
        return None
    zeros = _required(add.inputs[0]).producer()
    return (zeros, add) if zeros is not None and zeros.op_type == "ReduceMax" else None


def _attention(scores: ir.Node, inputs: set[ir.Value], score_steps: list[ir.Node], context: ir.Node) -> Attention:
    query, query_steps = _walk_back(_required(scores.inputs[0]), scores)
    keys, new_key = _extended(_required(scores.inputs[1]), inputs)
    values, new_value = _extended(_required(context.inputs[1]), inputs)
    key, key_steps = _walk_back(new_key, scores)
    value, value_steps = _walk_back(new_value, context)
    if value_steps:
        raise _differs(value_steps[0], "no operation between the value heads and the cache")
    to_tokens = _only_user(context)
    if to_tokens.op_type != "Transpose" or tuple(to_tokens.attributes["perm"].as_ints()) != TOKENS_FIRST:
        raise _differs(to_tokens, f"a Transpose with perm {list(TOKENS_FIRST)} after the context")
    kv, groups, _, dim = static(_required(query.transpose.outputs[0]))
    return Attention(
        query=query,
        key=key,
        value=value,
        query_steps=query_steps,
        key_steps=key_steps,
        new_key=new_key,
        new_value=new_value,
        keys=keys,
        values=values,
        scores=scores,
        score_steps=score_steps,
        context=context,
        sink=next((sink for step in score_steps if (sink := _sink(step)) is not None), None),
        to_tokens=to_tokens,
        kv_heads=kv,
        groups=groups,
        head_dim=dim,
    )


def _extended(attended: ir.Value, inputs: set[ir.Value]) -> tuple[ir.Node | None, ir.Value]:
    """The Concat of past and new keys or values, None without a cache; and the new ones."""
    node = attended.producer()
    if node is not None and _extends_cache(node, inputs):
        return node, _required(node.inputs[1])
    return None, attended


def _walk_back(value: ir.Value, user: ir.Node) -> tuple[Projection, list[ir.Node]]:
    """The projection behind `value`, and the nodes in between, in order."""
    steps: set[ir.Node] = set()
    projection: Projection | None = None
    stack = [value]
    while stack:
        current = stack.pop()
        node = current.producer()
        if node is None or node in steps:
            continue
        if node.op_type == "Transpose" and tuple(node.attributes["perm"].as_ints()) == HEADS_FIRST:
            projection = _projection(node)
            continue
        if node.op_type == "MatMul":
            raise _differs(
                node,
                f"Reshape and Transpose with perm {list(HEADS_FIRST)} between this MatMul and the scores",
            )
        steps.add(node)
        stack += [_required(part) for part in node.inputs if part is not None]
    if projection is None:
        raise _differs(user, "a projection, split into heads by Reshape and Transpose, before it")
    graph = projection.matmul.graph
    assert graph is not None
    return projection, [node for node in graph if node in steps]


def _projection(transpose: ir.Node) -> Projection:
    reshape = _required(transpose.inputs[0]).producer()
    if reshape is None or reshape.op_type != "Reshape" or len(constant(reshape.inputs[1])) != 4:
        raise _differs(transpose, "a Reshape to [AR, KV heads, group, head size] before it")
    before = _required(reshape.inputs[0]).producer()
    whole = before.outputs[0] if before is not None and before.op_type == "RMSNormalization" else None
    if whole is not None and before is not None:
        before = _required(before.inputs[0]).producer()
    branch, linear = _branch(before)
    bias = linear if linear is not None and linear.op_type == "Add" else None
    if bias is not None and any(_required(value).const_value is not None for value in bias.inputs):
        linear = next(
            (value.producer() for value in bias.inputs if value is not None and value.const_value is None), None
        )
    if linear is None or linear.op_type != "MatMul" or _required(linear.inputs[1]).const_value is None:
        raise _differs(reshape, "a MatMul with a weight before it, and at most a bias Add in between")
    return Projection(linear, bias, branch, reshape, transpose, whole)


def _branch(node: ir.Node | None) -> tuple[Branch | None, ir.Node | None]:
    """The LoRA branch that `node` adds, if it does, and the linear layer without it."""
    if node is None or node.op_type != "Add":
        return None, node
    for base, lifted in (node.inputs, node.inputs[::-1]):
        upper = _required(lifted).producer()
        low = _low(upper) if upper is not None else None
        if upper is not None and low is not None:
            return Branch(low, upper, node), _required(base).producer()
    return None, node


def _low(upper: ir.Node) -> Sequence[ir.Node] | None:
    """What a branch that ends with the MatMul `upper` computes before it; None if `upper` ends no branch."""
    if upper.op_type != "MatMul":
        return None
    switched = _required(upper.inputs[0]).producer()
    if switched is None or switched.op_type != "Mul":
        is_branch = switched is not None and _multiplies_input(upper) and _multiplies_input(switched)
        return [switched] if is_branch and switched is not None else None
    lower, strengths = (_product(value) for value in switched.inputs)
    if lower is None or strengths is None or not _required(strengths.inputs[0]).is_graph_input():
        return None
    return [lower, strengths, switched]


def _product(value: ir.Value | None) -> ir.Node | None:
    """The MatMul that gives `value`, if one does."""
    node = _required(value).producer()
    return node if node is not None and node.op_type == "MatMul" else None


def _multiplies_input(node: ir.Node) -> bool:
    """A MatMul whose second operand is a graph input."""
    return node.op_type == "MatMul" and _required(node.inputs[1]).is_graph_input()


def _only_user(node: ir.Node) -> ir.Node:
    users = [use.node for use in node.outputs[0].uses()]
    if len(users) != 1:
        raise _differs(node, "exactly one consumer of its output")
    return users[0]


def _differs(node: ir.Node, expected: str) -> OtherAttention:
    return OtherAttention(
        f"this attention cannot be separated into heads: expected {expected}",
        where=f"node {node.name or node.outputs[0].name} ({node.op_type})",
        remedy="remove mha_to_sha_conversion from the recipe, or export attention with the heads as the first axis",
    )


def _required(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value
