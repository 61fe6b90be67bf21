"""Leaving out `QuantizeLinear` and `DequantizeLinear` where they change nothing.

Slices, reshapes, transposes and joins of values on a grid lie on it. Rounded to the same grid again they stay the same
bit for bit: for steps of up to 16 bits, x / scale is within 0.01 of the step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from onnx import NodeProto, TensorProto

Grid = tuple[bytes, int, bytes]
"""The bytes of a scale, and the type and bytes of a zero point."""

_MOVES = ("Slice", "Reshape", "Transpose")
"""Operations that move the values of their first input; `Concat` moves those of all."""
_NARROW = (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16)


def without_needless_rounding(
    nodes: Sequence[NodeProto], constants: Mapping[str, TensorProto], outputs: Collection[str]
) -> list[NodeProto]:
    """The nodes that change something; inputs are renamed in place.

    Args:
        nodes: in the order of the graph.
        constants: the graph's initializers by name; only grids whose scale and zero point are in the graph's own file
            are known.
        outputs: the graph's.
    """
    grids: dict[str, Grid | None] = {}
    rounded: dict[str, str] = {}
    """Stored integers -> the values that were rounded to them."""
    same: dict[str, str] = {}
    """A tensor that is left out -> the one with its values."""
    kept = []
    for node in nodes:
        for place, name in enumerate(node.input):
            if name in same:
                node.input[place] = same[name]
        kind, out = node.op_type, node.output[0]
        if kind == "QuantizeLinear":
            grid = _grid(node, constants)
            if grid is not None and grids.get(node.input[0]) == grid:
                rounded[out] = node.input[0]
        elif kind == "DequantizeLinear":
            grids[out] = _grid(node, constants)
            before = rounded.get(node.input[0])
            if before is not None and grids[out] == grids[before] and out not in outputs:
                same[out] = before
                continue
        elif kind in _MOVES:
            grids[out] = grids.get(node.input[0])
        elif kind == "Concat":
            first = grids.get(node.input[0])
            grids[out] = first if all(grids.get(name) == first for name in node.input) else None
        kept.append(node)
    read = {name for node in kept for name in node.input}.union(outputs)
    return [node for node in kept if node.op_type != "QuantizeLinear" or node.output[0] in read]


def _grid(node: NodeProto, constants: Mapping[str, TensorProto]) -> Grid | None:
    """What a tensor is rounded to; None if it is no single grid of at most 16 bits."""
    parameters = [constants.get(name) for name in node.input[1:]]
    if len(parameters) != 2 or any(attribute.name != "axis" for attribute in node.attribute):
        return None
    scale, zero = parameters
    if scale is None or zero is None or zero.data_type not in _NARROW or scale.data_type != TensorProto.FLOAT:
        return None
    if not (len(scale.raw_data) == 4 and zero.raw_data):  # one value, in the graph's file
        return None
    return scale.raw_data, zero.data_type, zero.raw_data
