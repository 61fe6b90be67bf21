"""4-bit block weights as the 8-bit ones they stand for.

An LPBQ weight is `int4 * block integer (1 … 16) * float per channel`. The first two make an integer of 8 bits, so the
same real numbers are held by an int8 weight with that float as its scale, and nothing is rounded.

The vendor's emulator needs this: a context binary with 4-bit block weights that is loaded from a file ends its process
as soon as it runs (QNN 2.51 on x86; the NPU itself and a session that has just compiled the graph take them).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import GraphError
from qairt.files import link_or_copy
from qairt.graph import files
from qairt.graph.qdq.weights import WeightFile

WEIGHTS = "byte_weights.bin"


def write_byte_weights(onnx: Path, target: Path) -> None:
    """Write the graph `onnx` with 8-bit weights as `target`, and its weights beside it.

    Args:
        onnx: quantize-dequantize; its weights lie beside it.
        target: in an empty folder.

    Raises:
        GraphError: a block weight does not have the pattern of `qairt.graph.qdq.quantize`, or does not fit 8 bits.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    model = files.load(onnx)
    weights = WeightFile(target.parent / WEIGHTS)
    try:
        for node in [node for node in model.graph if "block_size" in node.attributes]:
            _replace(model.graph, node, weights)
    except BaseException:
        weights.abandon()
        raise
    weights.close()
    for name in files.external_files(onnx):
        link_or_copy(onnx.parent / name, target.parent / name)
    files.save(model, target)


def _replace(graph: ir.Graph, node: ir.Node, weights: WeightFile) -> None:
    weight, effective = node.inputs[0], node.inputs[1]
    producer = None if effective is None else effective.producer()
    if weight is None or producer is None or node.attributes.get_int("axis") != 0:
        raise _strange(node)
    per_block, per_channel = producer.inputs[0], producer.inputs[1]
    name, shape = str(weight.name), tuple(weight.shape.numpy()) if weight.shape is not None else ()
    chunks = _products(
        _values(weight, node), _values(per_block, node), node.attributes.get_int("block_size") or 0, node
    )
    held = weights.add(name, ir.DataType.INT8, shape, chunks)
    axis = [ir.AttrInt64("axis", 1)]
    whole = ir.Node("", "DequantizeLinear", [held, per_channel], axis, num_outputs=1, name=node.name)
    output = node.outputs[0]
    whole.outputs[0].name, whole.outputs[0].type, whole.outputs[0].shape = output.name, output.type, output.shape
    read = [value for value in (*node.inputs, *producer.inputs) if value is not None]
    graph.insert_before(node, whole)
    ir.convenience.replace_all_uses_with(output, whole.outputs[0])
    graph.remove(node, safe=True)
    if not producer.outputs[0].uses():
        graph.remove(producer, safe=True)
    for value in read:
        if value.name in graph.initializers and not value.uses():
            del graph.initializers[str(value.name)]
    graph.initializers[name] = held


def _products(
    integers: NDArray[Any], block_scale: NDArray[Any], block: int, node: ir.Node
) -> Iterator[NDArray[np.int8]]:
    """Block row by block row: [block, out]."""
    for row, scale in enumerate(block_scale.astype(np.int16)):
        product = integers[row * block : (row + 1) * block].astype(np.int16) * scale
        if product.min() < -128 or product.max() > 127:
            raise _strange(node)
        yield product.astype(np.int8)


def _values(value: ir.Value | None, node: ir.Node) -> NDArray[Any]:
    """Integers of 4 bits one to a byte, or bytes as they are, mapped from their file (onnx_ir refuses hard links)."""
    tensor = None if value is None else value.const_value
    if not isinstance(tensor, ir.ExternalTensor) or tensor.dtype not in (ir.DataType.INT4, ir.DataType.UINT8):
        raise _strange(node)
    shape = tuple(int(size) for size in tensor.shape.numpy())
    stored = np.memmap(tensor.path, np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
    if tensor.dtype == ir.DataType.UINT8:
        return stored.reshape(shape)
    halves = np.stack((stored & 0x0F, stored >> 4), 1).reshape(-1)[: tensor.size].reshape(shape)
    return np.asarray((halves ^ 8).astype(np.int8) - 8)


def _strange(node: ir.Node) -> GraphError:
    return GraphError(
        "it is a block weight, but not a 4-bit one with integer block scales",
        where=str(node.name),
        remedy="quantize with an LPBQ technique of this program, or with 8-bit weights",
    )
