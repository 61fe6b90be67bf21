"""Convert 4-bit block weights to equal 8-bit weights.

An LPBQ weight is `int4 * block integer (1 … 16) * float per channel`. The product of the first two fits 8 bits, so an
int8 weight with that float as its scale represents the same numbers, without rounding.

The vendor's emulator needs this: on x86 it crashes when it runs a context binary with 4-bit block weights that was
loaded from a file (QNN 2.51; the NPU itself, and a session that has just compiled the graph, accept them).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import GraphError
from qairt.files import link_or_copy
from qairt.graph import files
from qairt.graph.qdq.weights import WeightFile
from qairt.quant.nibbles import unpacked

WEIGHTS = "byte_weights.bin"


def write_byte_weights(onnx: Path, target: Path) -> None:
    """Write the graph `onnx` with 8-bit weights to `target`, its weights beside it.

    Args:
        onnx: QDQ, its weights beside it.
        target: in an empty folder.

    Raises:
        GraphError: a block weight is not built as by `qairt.graph.qdq.quantize`, or does not fit 8 bits.
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
        raise _unsupported(node)
    per_block, per_channel = producer.inputs[0], producer.inputs[1]
    name, shape = str(weight.name), tuple(weight.shape.numpy()) if weight.shape is not None else ()
    chunks = _products(
        _values(weight, node), _values(per_block, node), node.attributes.get_int("block_size") or 0, node
    )
    stored = weights.add(name, ir.DataType.INT8, shape, chunks)
    axis = [ir.AttrInt64("axis", 1)]
    whole = ir.Node("", "DequantizeLinear", [stored, per_channel], axis, num_outputs=1, name=node.name)
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
    graph.initializers[name] = stored


def _products(
    integers: NDArray[np.integer], block_scale: NDArray[np.integer], block: int, node: ir.Node
) -> Iterator[NDArray[np.int8]]:
    """One row of blocks at a time: [block, out]."""
    for row, scale in enumerate(block_scale.astype(np.int16)):
        product = integers[row * block : (row + 1) * block].astype(np.int16) * scale
        if product.min() < -128 or product.max() > 127:
            raise _unsupported(node)
        yield product.astype(np.int8)


def _values(value: ir.Value | None, node: ir.Node) -> NDArray[np.integer]:
    """4-bit integers one per byte, or 8-bit ones as they are, mapped from their file (onnx_ir rejects hard links)."""
    tensor = None if value is None else value.const_value
    if not isinstance(tensor, ir.ExternalTensor) or tensor.dtype not in (ir.DataType.INT4, ir.DataType.UINT8):
        raise _unsupported(node)
    shape = tuple(int(size) for size in tensor.shape.numpy())
    stored = np.memmap(tensor.path, np.uint8, "r", tensor.offset or 0, (tensor.nbytes,))
    if tensor.dtype == ir.DataType.UINT8:
        return stored.reshape(shape)
    return np.asarray((unpacked(stored, shape) ^ 8).astype(np.int8) - 8)


def _unsupported(node: ir.Node) -> GraphError:
    return GraphError(
        "it is a block weight, but not 4-bit with integer block scales",
        where=str(node.name),
        remedy="quantize with one of qairt's LPBQ techniques, or with 8-bit weights",
    )
