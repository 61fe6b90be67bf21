"""Extract a part from a bound graph.

1. A part turns `hidden_k` (or token ids) into `hidden_m` (or logits), and reads and writes its layers' keys and values.
   Between the halves of a layer, what it reads or hands on gets the name `attended_k`.
2. It keeps only the nodes and weights between its inputs and outputs; weights stay in their file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from qairt.errors import GraphError
from qairt.model.names import LOGITS, POOLED, attended_name, conv_names, past_names, present_names, residual_name
from qairt.model.parts import Part


def cut(model: ir.Model, part: Part, *, name: str) -> ir.Model:
    """Return the part as a new model named `name`. Consumes `model`.

    Raises:
        GraphError: the graph lacks a tensor where the part starts or ends.
    """
    graph = model.graph
    seams = {residual_name(layer): attended_name(layer) for layer in part.halved}
    values: dict[str, ir.Value] = {}
    for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
        value.name = seams.get(str(value.name), str(value.name))
        values[value.name] = value

    def find(tensor: str) -> ir.Value:
        if tensor not in values:
            raise GraphError(
                f"the graph has no tensor {tensor}, where the part starts or ends",
                where=str(graph.name),
                remedy=_REMEDY,
            )
        return values[tensor]

    is_pooled = POOLED in values
    head = POOLED if is_pooled else LOGITS
    outputs = [find(head if part.has_head else part.leaves)]
    kept = [both for layer in part.attentions for both in _kept(values, layer) if not is_pooled]
    outputs += [find(present) for _, present in kept]
    entering = None if part.has_embedding else find(part.enters)
    return between(model, entering, outputs, name=name, last={past for past, _ in kept})


def _kept(values: Collection[str], layer: int) -> list[tuple[str, str]]:
    """What a layer of the graph keeps, as input and output."""
    short = conv_names(layer)
    return [short] if short[0] in values else list(zip(past_names(layer), present_names(layer), strict=True))


def between(
    model: ir.Model,
    entering: ir.Value | None,
    outputs: Sequence[ir.Value],
    *,
    name: str,
    last: Collection[str] = (),
) -> ir.Model:
    """What computes `outputs`, as a new model named `name`. Consumes `model`.

    Args:
        entering: a tensor inside the graph that becomes the first input; None to begin at the graph's own inputs.
        outputs: in the order they get.
        last: graph inputs that come after all others.
    """
    graph = model.graph
    inputs: list[ir.Value] = []
    if entering is not None:
        own = ir.Value(name=entering.name, type=entering.type, shape=entering.shape)
        for node, index in list(entering.uses()):
            node.replace_input_with(index, own)
        entering.name = f"{entering.name}.before_the_cut"
        inputs.append(own)
    nodes, used = _needed(outputs)
    own_inputs = [value for value in graph.inputs if value in used and value is not entering]
    inputs += sorted(own_inputs, key=lambda value: value.name in last)
    initializers = [value for value in graph.initializers.values() if value in used]
    graph.remove(list(graph), safe=False)
    for value in list(graph.initializers.values()):
        graph.initializers.pop(str(value.name))
    graph.inputs.clear()
    graph.outputs.clear()
    return ir.Model(
        ir.Graph(
            inputs,
            outputs,
            nodes=nodes,
            initializers=initializers,
            opset_imports=dict(graph.opset_imports),
            name=name,
        ),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
    )


_REMEDY = "export the decoder with a residual Add after attention and after the MLP of each layer"


def tensor_names(model: ir.Model) -> set[str]:
    """Every tensor of the graph: inputs, initializers, node outputs."""
    names = {str(value.name) for value in model.graph.inputs} | set(model.graph.initializers)
    return names | {str(value.name) for node in model.graph for value in node.outputs}


def _needed(outputs: Sequence[ir.Value]) -> tuple[list[ir.Node], set[ir.Value]]:
    """The nodes that `outputs` depend on, in order, and all values that these read."""
    needed: set[ir.Node] = set()
    used: set[ir.Value] = set()
    stack = [value.producer() for value in outputs]
    graph_order: dict[ir.Node, int] = {}
    while stack:
        node = stack.pop()
        if node is None or node in needed:
            continue
        needed.add(node)
        for value in node.inputs:
            if value is not None:
                used.add(value)
                stack.append(value.producer())
    if needed:
        owner = next(iter(needed)).graph
        assert owner is not None
        graph_order = {node: index for index, node in enumerate(owner)}
    return sorted(needed, key=lambda node: graph_order[node]), used
