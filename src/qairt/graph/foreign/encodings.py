"""The encodings of an adopted graph, from those of the graph that it was.

1. A tensor keeps its encoding under its new name. A weight that was turned keeps it on its other axis.
2. A tensor that adoption made has the encoding of the one that it came from.
3. What an operation only moves has the encoding of what it moves, and a Concat the range of all its inputs: AIMET
   leaves these out.
4. A constant gets its exact encoding, where there is one: its values are integers times one scale.
5. The mask and the cosines and sines of positions, which other graphs compute, get the range they can have. So do
   scores with the mask, if their range has no room for hidden tokens, or so much that nothing else is left.
6. Anything else without an encoding stays without, and quantization names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from qairt.amounts import count
from qairt.errors import QuantizationError
from qairt.files import read_regular
from qairt.graph.foreign.positions import HIDDEN, Rewritten
from qairt.graph.qdq.quantize import DATA_MOVEMENT
from qairt.graph.weights_file import read
from qairt.quant.encodings import Encoding, Encodings, per_tensor, range_encoding
from qairt.quant.encodings_json import read_encodings

MASK_FLOOR = -100.0
_LOWEST = 100 * MASK_FLOOR
"""A lower minimum, such as that of float32, leaves too few steps for everything else."""
LARGEST_CONSTANT = 1 << 16
"""Elements of the largest constant that an exact encoding is looked for."""


@dataclass(frozen=True)
class Given:
    """An encoding that the file does not have, and a tensor got nevertheless."""

    name: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.what}, {self.why}"


def summarized(given: Sequence[Given]) -> list[str]:
    """A sentence for each reason: the first tensor in full, the others counted."""
    by_reason: dict[str, list[Given]] = {}
    for each in given:
        by_reason.setdefault(each.why, []).append(each)
    return [
        f"{first}; {count(len(others), 'other tensor')} likewise" if others else str(first)
        for first, *others in by_reason.values()
    ]


def adopted_encodings(
    model: ir.Model, path: Path, renamed: Mapping[str, str], rewritten: Rewritten | None
) -> tuple[Encodings, list[Given]]:
    """The encodings of `model`, and those of them that the file does not have.

    Args:
        model: the adopted graph.
        path: the file that belongs to the graph it was.
        renamed: new names of tensors, by old.
        rewritten: what rewriting the graph made, if it was rewritten.

    Raises:
        QuantizationError: the file cannot be read, or an encoding does not fit its tensor; names it.
    """
    initializers = model.graph.initializers
    known = set(initializers) | {str(value.meta["was"]) for value in initializers.values() if "was" in value.meta}
    found = read_encodings(read_regular(path), initializers=known, file=path.name)
    result = Encodings(
        {renamed.get(name, name): encoding for name, encoding in found.activations.items()}, dict(found.params)
    )
    for name in [name for name in result.activations if name in initializers]:  # AIMET lists constants here
        result.params.setdefault(name, result.activations.pop(name))
    given: list[Given] = []
    if rewritten is not None:
        _follow(result, found, rewritten)
        given += _given_ranges(model, result, rewritten)
    _move(model, result)
    for name, value in initializers.items():
        if value.dtype == ir.DataType.FLOAT:
            given += _weight(name, value, result)
    return result, given


def without_encoding(model: ir.Model, encodings: Encodings) -> list[str]:
    """The names of float tensors that quantization would refuse for want of an encoding."""
    graph = model.graph
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    groups = ((values, encodings.activations), (graph.initializers.values(), encodings.params))
    return [
        str(value.name)
        for group, found in groups
        for value in group
        if value.dtype == ir.DataType.FLOAT and value.name not in found
    ]


def _follow(result: Encodings, found: Encodings, rewritten: Rewritten) -> None:
    """Rule 2."""
    for name, sources in rewritten.like.items():
        encodings = (found.activations.get(source) or result.activations.get(source) for source in sources)
        encoding = next((encoding for encoding in encodings if encoding is not None), None)
        if encoding is not None:
            result.activations[name] = encoding
    for name, (source, factor) in rewritten.scaled.items():
        encoding = result.activations.get(source)
        if encoding is not None:
            result.activations[name] = replace(encoding, scale=(encoding.scale * factor).astype(np.float32))


def _given_ranges(model: ir.Model, result: Encodings, rewritten: Rewritten) -> list[Given]:
    """Rule 5."""
    given = []
    for value in model.graph.inputs:
        name = str(value.name)
        encoding = result.activations.get(name)
        if name == "attention_mask" and (encoding is None or not _LOWEST <= encoding.minimum[0] <= HIDDEN):
            result.activations[name] = range_encoding(MASK_FLOOR, 0.0, 16)
            given.append(Given(name, f"16 bits from {MASK_FLOOR:g} to 0", "as the file has no usable encoding of it"))
        elif name.startswith("position_ids_") and encoding is None:
            result.activations[name] = range_encoding(-1.0, 1.0, 16)
            given.append(Given(name, "16 bits from -1 to 1", "as the file has no encoding of it"))
    for name, source in rewritten.masked.items():
        encoding, scores = result.activations.get(name), result.activations.get(source)
        if scores is None:
            continue
        low, high = float(scores.minimum[0]), float(scores.maximum[0])
        if encoding is None or not _LOWEST <= encoding.minimum[0] <= low + HIDDEN:
            floor = float(result.activations["attention_mask"].minimum[0])
            result.activations[name] = range_encoding(low + floor, high, 16)
            what = f"16 bits from {low + floor:.4g} to {high:.4g}"
            given.append(Given(name, what, "so that the mask can hide tokens"))
    return given


def _move(model: ir.Model, result: Encodings) -> None:
    """Rule 3."""
    for node in model.graph:
        out = str(node.outputs[0].name)
        if node.op_type not in DATA_MOVEMENT or out in result.activations or node.outputs[0].dtype != ir.DataType.FLOAT:
            continue
        sources = [str(value.name) for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
        encodings = [encoding for name in sources if (encoding := result.activations.get(name)) is not None]
        if encodings and len(encodings) == len(sources):
            result.activations[out] = _range_of_all(encodings)


def _range_of_all(encodings: list[Encoding]) -> Encoding:
    first = encodings[0]
    if all(first.same_grid(other) for other in encodings):
        return first
    low = min(float(encoding.minimum[0]) for encoding in encodings)
    high = max(float(encoding.maximum[0]) for encoding in encodings)
    return range_encoding(low, high, max(encoding.bitwidth for encoding in encodings))


def _weight(name: str, value: ir.Value, result: Encodings) -> list[Given]:
    """Rules 1 and 4."""
    tensor = value.const_value
    assert tensor is not None
    shape = tuple(int(size) for size in tensor.shape.numpy())
    encoding = result.params.get(name)
    if encoding is None and "was" in value.meta:
        encoding = result.params.get(str(value.meta["was"]))
    if encoding is None:
        exact = _exact(read(tensor)) if tensor.size <= LARGEST_CONSTANT else None
        if exact is None:
            return []
        result.params[name] = exact
        return [Given(f"constant {name}", f"its exact encoding, {exact.bitwidth} bits", "as the file has none")]
    if encoding.axis == 0 and value.meta.get("turned"):
        encoding = replace(encoding, axis=1)
    if encoding.axis is not None and encoding.blocks is None and len(shape) == 1:
        encoding = replace(encoding, axis=0)  # a bias or norm weight with one scale per channel
    try:
        encoding.check_shape(shape)
    except QuantizationError as error:
        raise QuantizationError(
            error.what, where=f"weight {name}", remedy="encodings and graph belong to different models"
        ) from error
    if encoding.axis is not None and not encoding.symmetric:
        _require_signed_channels(name, encoding)
    result.params[name] = encoding
    return []


def _require_signed_channels(name: str, encoding: Encoding) -> None:
    middle = -(1 << encoding.bitwidth - 1)
    odd = next((int(offset) for offset in encoding.offset if offset != middle), None)
    if odd is not None:
        raise QuantizationError(
            f"one of its channels has offset {odd}: the NPU takes a scale per channel only with offset {middle}",
            where=f"weight {name}",
            remedy="quantize it symmetrically and signed, or with one scale and offset for the whole weight",
        )


def _exact(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Encoding | None:
    """The 16-bit grid that holds every value exactly; None if there is none."""
    if not values.size or not np.isfinite(values).all():
        return None
    sizes = np.abs(values[values != 0])
    step = np.float32(sizes.min()) if sizes.size else np.float32(1.0)
    low, high = float(values.min() / step), float(values.max() / step)
    offset = min(round(low), 0)
    if round(high) - offset > 65535:
        return None
    encoding = per_tensor(float(step), offset, 16, symmetric=False)
    return encoding if np.array_equal(encoding.nearest(values), values) else None
