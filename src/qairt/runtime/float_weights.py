"""A quantized graph with its weights as floats: ONNX Runtime opens it fast, and graphs of all ARs share the weights.

Where constants are dequantized, the graph gets float arrays, which sessions read where they lie. Of a table from which
rows are picked, only these become floats, in every call. Needless roundings are left out. What the graph computes stays
the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto

from qairt.runtime.dequantized import Constant, Floats, Source, StoredTensors, constant_of
from qairt.runtime.needless_rounding import without_needless_rounding

_ALIGNED = 16
"""Floats that a line of the processor's cache holds."""
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


class FloatWeightGraph:
    """A quantized graph that reads its weights as float arrays."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            Exception: the file cannot be read; protobuf's, or the system's.
        """
        self.path = path
        self._model = onnx.load(path, load_external_data=False)
        self._stored = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._constants: dict[str, Constant] = {}
        outputs = {output.name for output in self._model.graph.output}
        self._nodes = without_needless_rounding(self._without_constants(), self._stored, outputs)
        self._read = {name for node in self._nodes for name in node.input} | outputs
        self._weights = {name: each for name, each in self._constants.items() if name in self._read}

    @property
    def is_complete(self) -> bool:
        """Only weights are constant in it. Any other graph is left to ONNX Runtime, which folds what is constant."""
        known = {"", *self._stored, *self._constants}
        return (
            bool(self._constants)
            and not self._model.functions
            and not any(known.issuperset(node.input) for node in self._nodes)
            and not any(attribute.type in _GRAPHS for node in self._nodes for attribute in node.attribute)
        )

    @cached_property
    def sources(self) -> dict[str, Source]:
        """What each weight is made of.

        Raises:
            OSError: a file is missing.
        """
        return {name: each.source() for name, each in self._weights.items()}

    def bytes_beside(self, held: Collection[Source]) -> int:
        """Bytes of the weights that are not held."""
        return sum(4 * math.prod(self._weights[name].shape) for name, each in self.sources.items() if each not in held)

    def weights(self, held: Mapping[Source, Floats]) -> dict[Source, Floats]:
        """All weights; those that are not held are made.

        Raises:
            GraphError: a file is shorter than the graph says.
        """
        made = {source: held[source] for source in self.sources.values() if source in held}
        lacking = {source: self._weights[name] for name, source in self.sources.items() if source not in held}
        room = [-(-math.prod(each.shape) // _ALIGNED) * _ALIGNED for each in lacking.values()]
        memory = np.empty(_ALIGNED + sum(room), np.float32)  # as a whole, so that it gets large pages
        start = -memory.ctypes.data // memory.itemsize % _ALIGNED
        for (source, constant), size in zip(lacking.items(), room, strict=True):
            values = memory[start : start + math.prod(constant.shape)].reshape(constant.shape)
            made[source] = constant.values(values)
            start += size
        return made

    def serialized(self) -> bytes:
        """The graph, with initializers that have the names, types and shapes of the weights, but no values."""
        graph = self._model.graph
        kept = [tensor for tensor in graph.initializer if tensor.name in self._read]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(kept)
        for name, each in self._weights.items():
            graph.initializer.append(self._without_values(name, each))
        whole: bytes = self._model.SerializeToString()
        return whole

    def _without_constants(self) -> list[NodeProto]:
        """The nodes but those that dequantize constants."""
        nodes: list[NodeProto] = []
        tensors = StoredTensors(self._stored, self.path.parent)
        for node in self._model.graph.node:
            constant = constant_of(node, tensors, self._constants)
            if constant is not None:
                self._constants[node.output[0]] = constant
                continue
            nodes.append(node)
            table = self._constants.get(node.input[0]) if node.op_type == "Gather" else None
            if table is not None and table.has_one_scale:
                rows = NodeProto()
                rows.CopyFrom(table.node)
                rows.name, rows.input[0], rows.output[0] = "", f"{node.output[0]}.integers", node.output[0]
                node.input[0], node.output[0] = table.stored.name, rows.input[0]
                nodes.append(rows)
        return nodes

    def _without_values(self, name: str, constant: Constant) -> TensorProto:
        """ONNX Runtime wants a file that exists, and does not read it."""
        tensor = TensorProto(
            name=name, data_type=TensorProto.FLOAT, dims=constant.shape, data_location=TensorProto.EXTERNAL
        )
        size = 4 * math.prod(constant.shape)
        for key, value in (("location", self.path.name), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        return tensor
