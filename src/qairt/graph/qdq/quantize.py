"""Turn a float graph and its encodings into a QDQ graph.

1. Every float tensor is stored as integers under its own name; a node reads `NAME.dq` and writes `NAME.float`.
2. Inputs and outputs are integers: uint16 activations, uint8 keys and values; token ids stay as they are.
3. A tensor without an encoding is an error. Nothing is invented.
4. An operation that only moves data works in the encoding of its output; an input with another encoding is converted
   first. Gather from a weight works in the weight's encoding, and its result is converted.
5. Weights are rounded once and written, tensor by tensor, to one raw file (`qairt.graph.qdq.weights`).
6. An LPBQ weight keeps its two scales: the integers per block are dequantized by the float per channel.
7. Keys and values, and what short convolutions keep, have the same encoding as input and as output.
8. A 32-bit bias is added in 16 bits, on the grid of its own largest value: the NPU adds it to a 16-bit product.

The same graph goes to the HTP compiler and to ONNX Runtime's CPU provider.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from qairt.errors import GraphError, QuantizationError
from qairt.graph.qdq.builder import QdqBuilder, activation_type
from qairt.graph.qdq.weights import WeightFile, stored_type
from qairt.model.names import PAST
from qairt.quant.encodings import Encoding, Encodings

OPSET = 21
"""The first with 4- and 16-bit integers and block scales."""
DATA_MOVEMENT = frozenset(
    (
        *("Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape"),
        *("Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    )
)


def quantize_graph(model: ir.Model, encodings: Encodings, weights_path: Path) -> ir.Model:
    """Quantize every tensor of `model`.

    Args:
        model: float32, static shapes; not changed.
        encodings: of every float tensor and every float initializer.
        weights_path: the raw file to write the quantized weights to. The result refers to it by its name, so save the
            result in the same folder.

    Returns:
        The QDQ graph, in the opset of `model`.

    Raises:
        QuantizationError: a tensor has no encoding, or one that does not fit it; names the tensor.
        GraphError: the opset is too old, or a node has a subgraph.
    """
    version = model.opset_imports.get("", 0)
    if version < OPSET:
        raise GraphError(
            f"opset {version} has no 4- and 16-bit integers",
            where=str(model.graph.name),
            remedy=f"export it with opset {OPSET} or later (RMSNormalization needs 23)",
        )
    _require_tied_caches(encodings)
    weights = WeightFile(weights_path)
    try:
        quantized = _Quantization(model, encodings, weights).run()
        weights.close()
    except BaseException:
        weights.abandon()
        raise
    return quantized


class _Quantization:
    """One pass over one graph."""

    def __init__(self, model: ir.Model, encodings: Encodings, weights: WeightFile) -> None:
        self.model = model
        self.encodings = encodings
        self.builder = QdqBuilder(weights)
        self.stored: dict[str, ir.Value] = {}
        """By tensor name: integers for a float tensor, the tensor itself for any other."""
        self.dequantized: dict[tuple[str, str], ir.Value] = {}
        """By tensor name and grid: the value that nodes read."""

    def run(self) -> ir.Model:
        graph = self.model.graph
        inputs = []
        for value in graph.inputs:
            if value.is_initializer():
                continue
            name = str(value.name)
            dtype = activation_type(self._encoding(value), name) if _is_float(value) else value.dtype
            self.stored[name] = _copy(value, name, dtype)
            inputs.append(self.stored[name])
        for node in graph:
            self._add(node)
        outputs = [self.stored[str(value.name)] for value in graph.outputs]
        quantized = ir.Graph(
            inputs,
            outputs,
            nodes=self.builder.nodes,
            initializers=list(self.builder.initializers.values()),
            opset_imports=dict(graph.opset_imports),
            name=graph.name,
        )
        return ir.Model(quantized, ir_version=max(self.model.ir_version, 11), producer_name="qairt")

    def _add(self, node: ir.Node) -> None:
        attributes = list(node.attributes.values())
        if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in attributes):
            raise GraphError(f"{node.op_type} with a subgraph cannot be quantized", where=str(node.name))
        moves = node.op_type in DATA_MOVEMENT
        target = self._encoding(node.outputs[0]) if moves and _is_float(node.outputs[0]) else None
        source = node.inputs[0] if node.inputs else None
        moves_weight = source is not None and source.is_initializer() and target is not None
        inputs = [None if value is None else self._input(value, target) for value in node.inputs]
        outputs = [
            _copy(value, f"{value.name}.float" if _is_float(value) else str(value.name), value.dtype)
            for value in node.outputs
        ]
        self.builder.nodes.append(
            ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=node.name)
        )
        for value, output in zip(node.outputs, outputs, strict=True):
            if not _is_float(value):
                self.stored[str(value.name)] = output
            elif moves_weight and source is not None:
                self.stored[str(value.name)] = self._moved_weight(node, source, value, output)
            else:
                self.stored[str(value.name)] = self.builder.quantize(output, str(value.name), self._encoding(value))

    def _input(self, value: ir.Value, target: Encoding | None) -> ir.Value:
        """The value that a node reads for `value`."""
        name = str(value.name)
        if not _is_float(value):
            if name not in self.stored:
                self.stored[name] = self.builder.initializer(
                    ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
                )
            return self.stored[name]
        if not value.is_initializer():
            return self._activation(value, target)
        if (name, "") not in self.dequantized:
            encoding = self.encodings.params.get(name)
            if encoding is None:
                raise _no_encoding(name, "weight")
            self.dequantized[name, ""] = self.builder.dequantized_weight(value, encoding)
        return self.dequantized[name, ""]

    def _activation(self, value: ir.Value, target: Encoding | None) -> ir.Value:
        """A dequantized activation, converted to the grid `target` first if that is given and differs from its own."""
        name, own = str(value.name), self._encoding(value)
        grid = own if target is None or own.same_grid(target) else target
        key = (name, _grid_key(grid))
        if key not in self.dequantized:
            if grid is own:
                self.dequantized[key] = self.builder.dequantize(self.stored[name], f"{name}.dq", own)
            else:
                source = self._activation(value, None)
                number = sum(tensor == name for tensor, _ in self.dequantized)
                converted = f"{name}.to_{grid.bitwidth}_{number}"
                integers = self.builder.quantize(source, converted, grid)
                self.dequantized[key] = self.builder.dequantize(integers, f"{converted}.dq", grid)
        return self.dequantized[key]

    def _moved_weight(self, node: ir.Node, source: ir.Value, value: ir.Value, output: ir.Value) -> ir.Value:
        """Quantize a result of moving a weight on the weight's grid, then convert it to its own (rule 4)."""
        grid = self.encodings.params[str(source.name)]
        if grid.axis is not None:
            raise QuantizationError(
                f"{node.op_type} reads it, so its encoding must be per tensor",
                where=str(source.name),
                remedy="quantize the embedding per tensor",
            )
        own = self._encoding(value)
        if not grid.same_grid(own):
            dtype = stored_type(grid, str(source.name))
            rows = self.builder.quantize(output, f"{value.name}.rows", grid, dtype)
            output = self.builder.dequantize(rows, f"{value.name}.rows.dq", grid, dtype)
        return self.builder.quantize(output, str(value.name), own)

    def _encoding(self, value: ir.Value) -> Encoding:
        encoding = self.encodings.activations.get(str(value.name))
        if encoding is None:
            raise _no_encoding(str(value.name), "tensor")
        return encoding


def _require_tied_caches(encodings: Encodings) -> None:
    for name, encoding in encodings.activations.items():
        if PAST.match(name) and name.endswith("_in"):
            out = encodings.activations.get(name.removesuffix("_in") + "_out")
            if out is not None and not encoding.same_grid(out):
                raise QuantizationError(
                    "its encoding differs from that of the matching output",
                    where=name,
                    remedy="keys and values need the same encoding as input and as output",
                )


def _no_encoding(name: str, kind: str) -> QuantizationError:
    return QuantizationError(
        f"this {kind} has no encoding",
        where=name,
        remedy="run quantization on this model again, or add the encoding to the file that the recipe names",
    )


def _grid_key(encoding: Encoding) -> str:
    return f"{encoding.bitwidth} {encoding.scale.tobytes().hex()} {encoding.offset.tolist()}"


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _copy(value: ir.Value, name: str, dtype: ir.DataType | None) -> ir.Value:
    return ir.Value(name=name, type=None if dtype is None else ir.TensorType(dtype), shape=value.shape)
