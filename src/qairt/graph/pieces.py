"""Pieces of a quantized part: one layer of every form in it, and what comes before and after its layers.

A compiler that rewrites a form wrongly does so in every layer of that form. One of them shows it, in a fraction of the
time that the part takes.

1. A layer lies between `hidden_k` and `hidden_{k+1}`, its halves before and after the first residual Add. A part
   without these names is one piece.
2. Two pieces have one form if their nodes, types and shapes are equal; scales, weights and names may differ.
3. A graph output belongs to the last piece that it depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.graph import files
from qairt.model.names import HANDED_ON, hidden_name, is_residual, residual_name

if TYPE_CHECKING:
    import onnx_ir as ir

WHOLE = "whole"
"""The name of a part that is one piece."""
_HIDDEN = re.compile(r"hidden_(\d+)")
_MAX_CONSTANT = 16
"""Integer constants of so many elements are part of a form: shapes, axes, the bounds of a slice."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a part between two hidden states."""

    name: str
    """`hidden_3 to hidden_4`, `input_ids to hidden_0`, `hidden_30 to logits`; `whole` for a part of one piece."""
    form: str
    """Digest of its structure."""
    enters: str | None
    """The hidden state it reads; None for the part's first piece."""
    outputs: tuple[str, ...]
    halves: tuple[Piece, ...] = ()
    """Of a layer, its attention and its MLP; empty for all else, and where both read the same."""


def pieces(onnx: Path) -> list[Piece]:
    """The pieces of a part in order, the first of each form.

    Raises:
        GraphError: it is not an ONNX file.
    """
    first: dict[str, Piece] = {}
    for piece in _all_pieces(files.load(onnx).graph):
        first.setdefault(piece.form, piece)
    return list(first.values())


def whole(onnx: Path) -> list[Piece]:
    """The part as one piece.

    Raises:
        GraphError: it is not an ONNX file.
    """
    outputs = files.load(onnx).graph.outputs
    return [Piece(WHOLE, _form(outputs, None), None, tuple(str(value.name) for value in outputs))]


def cut_piece(onnx: Path, piece: Piece, *, widest: int | None = None) -> ir.Model:
    """The piece as a graph of its own; its weights refer to the files beside `onnx`.

    Args:
        widest: logits get no more columns than this.
    """
    from qairt.graph.narrow import narrow
    from qairt.graph.split import between

    model = files.load(onnx)
    values = _values(model.graph)
    enters = None if piece.enters is None else values[piece.enters]
    cut = between(model, enters, [values[name] for name in piece.outputs], name=str(model.graph.name))
    shape = cut.graph.outputs[0].shape
    width = shape[-1] if shape is not None and len(shape) else None
    if widest is not None and isinstance(width, int) and width > widest and not is_residual(piece.outputs[0]):
        narrow(cut, width, widest)
    return cut


def _all_pieces(graph: ir.Graph) -> Iterator[Piece]:
    values = _values(graph)
    outer = {str(value.name) for value in (*graph.inputs, *graph.outputs)}
    inputs = {str(value.name) for value in graph.inputs}
    hidden = sorted(int(name[7:]) for name in values if _HIDDEN.fullmatch(name) and name not in inputs)
    of_halves = [
        name
        for layer in hidden
        for name in (residual_name(layer - 1), hidden_name(layer))
        if name not in outer and (name != residual_name(layer - 1) or _is_halved(values, layer - 1))
    ]
    halves = _pieces_at(graph, of_halves)
    for piece in _pieces_at(graph, [name for name in map(hidden_name, hidden) if name not in outer]):
        own = []
        for half in halves:
            own.append(half)
            if piece.outputs[0] in half.outputs:
                break
        yield replace(piece, halves=tuple(own)) if len(own) > 1 else piece


def _is_halved(values: Mapping[str, ir.Value], layer: int) -> bool:
    """Whether the layer's MLP reads nothing but the residual stream after its attention; where both read the same, the
    layer is one piece."""
    residual = values.get(residual_name(layer))
    stack, seen = [values[hidden_name(layer + 1)]], {residual}
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.name == hidden_name(layer):
            return False
        if (node := value.producer()) is not None:
            stack += [each for each in node.inputs if each is not None]
    return residual is not None


def _pieces_at(graph: ir.Graph, boundaries: Sequence[str]) -> Iterator[Piece]:
    """What lies before, between and after the boundaries, given in order."""
    values = _values(graph)
    inputs = {str(value.name) for value in graph.inputs}
    ends = [str(value.name) for value in graph.outputs]
    owner = {name: _last_boundary(values[name], boundaries) for name in ends}
    previous: str | None = None
    for boundary in (*boundaries, None):
        outputs = [name for name in ends if owner[name] == previous]
        if boundary is not None:
            outputs.insert(0, boundary)
        enters, previous = previous, boundary
        if outputs:
            first = enters or next(iter(inputs & {"input_ids", *filter(HANDED_ON.fullmatch, inputs)}), "its inputs")
            name = f"{first} to {outputs[0]}" if boundaries else WHOLE
            form = _form([values[output] for output in outputs], None if enters is None else values[enters])
            yield Piece(name, form, enters, tuple(outputs))


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    found = {str(value.name): value for value in graph.inputs}
    return found | {str(value.name): value for node in graph for value in node.outputs}


def _last_boundary(output: ir.Value, boundaries: Sequence[str]) -> str | None:
    """The last of `boundaries` that `output` depends on."""
    order = {name: index for index, name in enumerate(boundaries)}
    last = -1
    seen: set[ir.Value] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        at = order.get(str(value.name))
        if at is not None:
            last = max(last, at)
        elif (node := value.producer()) is not None:
            stack += [each for each in node.inputs if each is not None]
    return boundaries[last] if last >= 0 else None


def _form(outputs: Sequence[ir.Value], enters: ir.Value | None) -> str:
    """Digest of everything between; numbers stand for names, in the order in which the outputs need them."""
    numbers: dict[ir.Value, int] = {}
    described: list[object] = []

    def reference(value: ir.Value | None) -> object:
        """A constant stands for itself: whether two nodes share it depends on its value."""
        if value is None:
            return None
        return numbers[value] if value in numbers else _kind(value)

    stack: list[tuple[ir.Value, bool]] = [(value, False) for value in reversed(outputs)]
    while stack:
        value, inputs_are_done = stack.pop()
        if value in numbers or value.is_initializer():
            continue
        node = None if value is enters else value.producer()
        if node is not None and not inputs_are_done:
            stack.append((value, True))
            stack += [(each, False) for each in reversed(node.inputs) if each is not None]
            continue
        for made in (value,) if node is None else node.outputs:
            numbers[made] = len(numbers)
        if node is None:
            described.append(_kind(value))
            continue
        attributes = {name: str(attribute.value) for name, attribute in sorted(node.attributes.items())}
        kinds = [_kind(made) for made in node.outputs]
        described.append([node.domain, node.op_type, attributes, [reference(each) for each in node.inputs], kinds])
    return keys.digest([described, [numbers[value] for value in outputs]])


def _kind(value: ir.Value) -> list[object]:
    dtype = None if value.dtype is None else value.dtype.name
    shape = None if value.shape is None else [str(size) for size in value.shape]
    constant = value.const_value
    if constant is not None and dtype in ("INT64", "INT32") and constant.size <= _MAX_CONSTANT:
        return [dtype, shape, constant.numpy().tolist()]
    return [dtype, shape]
