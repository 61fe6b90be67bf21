"""Small graphs made by hand, quantized as `qairt.graph.qdq` does it: what the compiler makes of a form of operators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper, numpy_helper

from qairt.graph import files
from qairt.graph.qdq.quantize import quantize_graph
from qairt.graph.qdq.signature import signature_of
from qairt.quant.encodings import Encoding, Encodings, range_encoding, symmetric_channels
from qairt.runtime.parts import PartGraph

OPSET = 23


class Form:
    """Nodes in order, each with one output; ranges are those of its own random inputs."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.inputs: dict[str, np.ndarray] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[str] = []
        self.bits: dict[str, int] = {}
        """Of activations whose grid is symmetric, as that of keys and values; all others have 16 asymmetric bits."""
        self.ranges: dict[str, tuple[float, float]] = {}
        """Of activations that do not get their own."""
        self.weight_bits = 8
        """Of the weights of linears."""
        self._count = 0

    def input(self, name: str, *shape: int, values: np.ndarray | None = None) -> str:
        drawn = self.random.normal(size=shape) if values is None else values
        self.inputs[name] = np.asarray(drawn, np.float32)
        return name

    def weight(self, *shape: int, values: np.ndarray | None = None) -> str:
        name = f"weight_{len(self.weights)}"
        drawn = self.random.normal(size=shape) / np.sqrt(shape[0]) if values is None else values
        self.weights[name] = np.asarray(drawn, np.float32)
        return name

    def integers(self, *values: int) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights[name] = np.asarray(values, np.int64)
        return name

    def scalar(self, value: float) -> str:
        return self.weight(values=np.asarray(value))

    def node(self, op: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        outputs = [f"{op.lower()}_{self._count + index}" for index in range(count)]
        self._count += count
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0] if count == 1 else outputs

    def output(self, value: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self.outputs.append(name)

    def model(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(key, 1, value.shape) for key, value in self.inputs.items()],
            [helper.make_tensor_value_info(key, 1, None) for key in self.outputs],
            [numpy_helper.from_array(value, key) for key, value in self.weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=11)
        return onnx.shape_inference.infer_shapes(made, strict_mode=True)

    def part(self, folder: Path, rows: int = 1) -> PartGraph:
        """The quantized graph in `folder`, with its signature."""
        folder.mkdir(parents=True, exist_ok=True)
        model = self.model(f"ar{rows}-cl512_1_of_1")
        encodings = self._encodings(model)
        quantized = quantize_graph(ir.from_proto(model), encodings, folder / "weights.bin")
        files.save(quantized, folder / "form.onnx")
        return PartGraph(folder / "form.onnx", signature_of(quantized, encodings))

    def _encodings(self, model: onnx.ModelProto) -> Encodings:
        values = dict(self.inputs)
        kinds = {info.name: info.type.tensor_type.elem_type for info in model.graph.value_info}
        names = [name for node in model.graph.node for name in node.output if kinds.get(name, 1) == 1]
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        del shown.graph.output[:]
        shown.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
        session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
        values |= dict(zip(names, session.run(names, self.inputs), strict=True))
        activations = {name: self._activation(name, value) for name, value in values.items()}
        for node in model.graph.node:  # the same numbers, on the same grid
            if node.op_type == "Identity":
                activations[node.output[0]] = activations[node.input[0]]
        linear = {node.input[1] for node in model.graph.node if node.op_type in ("MatMul", "Conv")}
        first = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
        params = {
            name: _channels(value, 0 if name in first else value.ndim - 1, self.weight_bits)
            if name in linear
            else range_encoding(float(value.min()), float(value.max()), 16)
            for name, value in self.weights.items()
            if value.dtype == np.float32
        }
        return Encodings(activations, params)

    def _activation(self, name: str, value: np.ndarray) -> Encoding:
        low, high = self.ranges.get(name, (float(value.min()), float(value.max())))
        return range_encoding(low, high, self.bits.get(name, 16), symmetric=name in self.bits)


def _channels(weight: np.ndarray, axis: int, bits: int) -> Encoding:
    others = tuple(each for each in range(weight.ndim) if each != axis)
    return symmetric_channels(np.abs(weight).max(others) / (2 ** (bits - 1) - 1), bits, axis)


def concatenated(form: Form, parts: Sequence[str], axis: int = -1) -> str:
    return str(form.node("Concat", *parts, axis=axis))
