"""Bring a decoder as torch and optimum export it to the inputs and outputs of our own export.

1. Dynamic axes get lengths that equal no layer size, so that `bind` can prove later what each number means.
2. Attention is rewritten layer by layer (`heads`).
3. Mask and positions become the inputs that our runtimes fill (`positions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from qairt.errors import GraphError
from qairt.graph.foreign.dims import Lengths
from qairt.graph.foreign.fold import fold
from qairt.graph.foreign.heads import HeadsRewriter
from qairt.graph.foreign.interface import cache_layers
from qairt.graph.foreign.positions import Positions, Rewritten
from qairt.graph.shapes import constant, node_text, propagate
from qairt.model.names import past_names


def needs_rewriting(model: ir.Model) -> bool:
    """Whether the inputs, named as ours, differ from those of our own export."""
    shapes = {str(value.name): value.shape for value in model.graph.inputs}
    mask = shapes.get("attention_mask")
    if "position_ids" in shapes or mask is None or len(mask) != 4:
        return cache_layers(model) > 0
    key, value = (shapes.get(name) for name in past_names(0))
    if key is None or value is None or len(key) != 4 or len(value) != 4:
        return False
    # keys [KV, 1, D, past], values [KV, 1, past, D]
    return not (key[1] == value[1] == 1 and key[3] == value[2] and key[2] == value[3])


def rewrite(model: ir.Model, names: dict[str, str], keep: Callable[[ir.Model], None]) -> Rewritten:
    """Rewrite `model` in place.

    Args:
        model: with our names for its inputs and outputs, which hold what their exporter chose.
        names: the graph's own names, by ours.
        keep: gets the graph with its sizes, before it is rewritten.

    Raises:
        GraphError: a part of it has a form that cannot be adopted; names the node or input, and the form it needs.
    """
    graph = model.graph
    lengths = _set_sizes(model, names)
    fold(model)
    keep(model)
    result = Rewritten()
    side = _side_values(graph)
    rewriter = HeadsRewriter(graph, lengths.ar, lengths.cl, side.__contains__, names)
    for layer in range(cache_layers(model)):
        rewriter.rewrite(layer)
    result.like, result.scaled = rewriter.like, rewriter.scaled
    Positions(model, lengths, names, result).replace(rewriter)
    RemoveUnusedNodesPass()(model)
    _require_no_other_inputs(graph, names)
    for place, output in enumerate(graph.outputs):
        if output.dtype is None:
            graph.outputs[place].dtype = ir.DataType.FLOAT
    propagate(model)
    return result


# Lengths


def _set_sizes(model: ir.Model, names: dict[str, str]) -> Lengths:
    """Rule 1."""
    lengths = _lengths(model, names)
    sizes = {"ar": lengths.ar, "cl": lengths.cl, "past": lengths.cl - lengths.ar}
    for value in model.graph.inputs:
        if value.shape is None:
            raise GraphError(
                "its shape is missing", where=f"input {_shown(value, names)}", remedy="export it with its dimensions"
            )
        shape = list(value.shape)
        for axis, symbol in _length_axes(str(value.name), shape).items():
            shape[axis] = sizes[symbol] if not isinstance(shape[axis], int) else shape[axis]
        # what else is open is the batch
        value.shape = ir.Shape([size if isinstance(size, int) else 1 for size in shape])
    return lengths


def _length_axes(name: str, shape: list[Any]) -> dict[int, str]:
    """The axes of an input that are lengths."""
    if name in ("input_ids", "position_ids"):
        return {len(shape) - 1: "ar"}
    if name == "attention_mask":
        return {len(shape) - 1: "cl"} | ({2: "ar"} if len(shape) == 4 else {})
    if name.startswith("position_ids_"):
        return {len(shape) - 2: "ar"}
    if name.startswith("past_"):
        open_axes = [axis for axis in range(1, len(shape)) if not isinstance(shape[axis], int)]
        return dict.fromkeys(open_axes[-1:], "past")
    return {}


def _lengths(model: ir.Model, names: dict[str, str]) -> Lengths:
    inputs = {str(value.name): value for value in model.graph.inputs}
    if "input_ids" not in inputs or past_names(0)[0] not in inputs:
        missing = "input_ids" if "input_ids" not in inputs else "past_key_0_in"
        raise GraphError(
            f"it has no input {missing}",
            where=str(model.graph.name),
            remedy=f"its inputs are {', '.join(names.get(name, name) for name in inputs)}; say in"
            " stages.export.io_names which is which",
        )
    shape = list(inputs["input_ids"].shape or ())
    mask = list(inputs["attention_mask"].shape or ()) if "attention_mask" in inputs else []
    if shape and isinstance(shape[-1], int) and mask and isinstance(mask[-1], int):
        return Lengths(shape[-1], mask[-1])
    return _free_lengths(model)


def _free_lengths(model: ir.Model) -> Lengths:
    """Prime lengths that divide no size or number of the graph."""
    numbers: set[int] = set()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None:
            continue
        numbers |= {int(size) for size in tuple(tensor.shape) if isinstance(size, int)}
        if tensor.dtype == ir.DataType.INT64 and tensor.size < 10:
            numbers |= {abs(number) for number in constant(value)}
    numbers = {number for number in numbers if 1 < number < 2**31}
    primes = (p for p in range(11, 1000) if all(p % d for d in range(2, int(p**0.5) + 1)))
    free = [p for p in primes if all(number % p for number in numbers)]
    ar = free[0]
    past = next(p for p in free[1:] if all(number % (p + ar) for number in numbers))
    return Lengths(ar, ar + past)


def _side_values(graph: ir.Graph) -> set[ir.Value]:
    """What depends on masks, positions and constants only."""
    names = {"attention_mask", "position_ids", "position_ids_cos", "position_ids_sin"}
    side = {value for value in graph.inputs if value.name in names} | set(graph.initializers.values())
    for node in graph:
        if all(value is None or value in side for value in node.inputs):
            side |= set(node.outputs)
    return side


def _require_no_other_inputs(graph: ir.Graph, names: dict[str, str]) -> None:
    kept = set(graph.inputs)
    for node in graph:
        for value in _values(node):
            if value.producer() is None and value.const_value is None and value not in kept and value.name:
                shown = str(value.name).removesuffix(".given")
                raise GraphError(
                    f"it reads the input {names.get(shown, shown)} outside of attention",
                    where=node_text(node),
                    remedy="only attention may depend on masks and positions",
                )


def _values(node: ir.Node) -> Iterator[ir.Value]:
    return (value for value in node.inputs if value is not None)


def _shown(value: ir.Value, names: dict[str, str]) -> str:
    return names.get(str(value.name), str(value.name))
