"""A float graph and its encodings as a quantize-dequantize graph.

1. Every float tensor is held as integers under its own name; a node reads `NAME.dq` and writes `NAME.float`.
2. Inputs and outputs are the integers: uint16 activations, uint8 keys and values, token ids untouched.
3. A tensor without an encoding is an error. Nothing is invented.
4. An operation that only moves data does so in the encoding of its output; an input with another encoding is converted
   first. Gather from a weight moves in the weight's encoding, and its result is converted.
5. Weights are rounded once and written, tensor by tensor, to one raw file (`qairt.graph.qdq.weights`).
6. An LPBQ weight keeps its two scales apart: integers per block, dequantized by the float per channel.
7. Keys and values come in on the grid they went out on.
8. A bias of 32 bits is added in 16, on the grid of its own largest value: the NPU adds it to a 16-bit product.

The same graph goes to the HTP compiler and to ONNX Runtime's CPU provider.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from qairt.errors import GraphError, QuantizationError
from qairt.graph.qdq.signature import signature_of
from qairt.graph.qdq.weights import WeightFile, held_encoding, rounded, stored_type
from qairt.quant.encodings import Encoding, Encodings

__all__ = ["quantize_graph", "signature_of"]

OPSET = 21
"""The first with 4- and 16-bit integers and block scales."""
MOVES_DATA = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
) | {
    "Tile",
    "Transpose",
    "Unsqueeze",
}
_HELD = {8: ir.DataType.UINT8, 16: ir.DataType.UINT16}


def quantize_graph(model: ir.Model, encodings: Encodings, weights_path: Path) -> ir.Model:
    """Put every tensor of `model` on its grid.

    Args:
        model: float32, static shapes; left as it is.
        encodings: of every float tensor and every float initializer.
        weights_path: the raw file that the new weights are written to. The result refers to it by its name, so save
            the result in the same folder.

    Returns:
        The quantized graph, opset of `model`.

    Raises:
        QuantizationError: a tensor has no encoding, or one that does not fit it; names the tensor.
        GraphError: the opset is too old, or a node has a subgraph.
    """
    version = model.opset_imports.get("", 0)
    if version < OPSET:
        raise GraphError(
            f"opset {version} cannot hold 4- and 16-bit integers",
            where=str(model.graph.name),
            remedy=f"export it with opset {OPSET} or later (RMSNormalization needs 23)",
        )
    _check_tied(encodings)
    weights = WeightFile(weights_path)
    try:
        quantized = _Pass(model, encodings, weights).run()
        weights.close()
    except BaseException:
        weights.abandon()
        raise
    return quantized


class _Pass:
    """One run over one graph."""

    def __init__(self, model: ir.Model, encodings: Encodings, weights: WeightFile) -> None:
        self.model = model
        self.encodings = encodings
        self.weights = weights
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self.held: dict[str, ir.Value] = {}
        """The value that holds a tensor: integers for a float tensor, the tensor itself for any other."""
        self.read: dict[tuple[str, str], ir.Value] = {}
        """What a node reads of a tensor (by name and grid): its dequantized value."""

    def run(self) -> ir.Model:
        graph = self.model.graph
        inputs = []
        for value in graph.inputs:
            if value.is_initializer():
                continue
            held = _like(value, str(value.name), self._held_type(value) if _is_float(value) else value.dtype)
            self.held[str(value.name)] = held
            inputs.append(held)
        for node in graph:
            self._add(node)
        outputs = [self.held[str(value.name)] for value in graph.outputs]
        quantized = ir.Graph(
            inputs,
            outputs,
            nodes=self.nodes,
            initializers=list(self.initializers.values()),
            opset_imports=dict(graph.opset_imports),
            name=graph.name,
        )
        return ir.Model(quantized, ir_version=max(self.model.ir_version, 11), producer_name="qairt")

    def _add(self, node: ir.Node) -> None:
        if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in _attributes(node)):
            raise GraphError(f"{node.op_type} with a subgraph cannot be quantized", where=str(node.name))
        moves = node.op_type in MOVES_DATA
        target = self._encoding(node.outputs[0]) if moves and _is_float(node.outputs[0]) else None
        moved_weight = moves and node.inputs[0] is not None and node.inputs[0].is_initializer() and target is not None
        inputs: list[ir.Value | None] = []
        for value in node.inputs:
            if value is None:
                inputs.append(None)
            elif not _is_float(value):
                inputs.append(self._plain(value))
            elif value.is_initializer():
                inputs.append(self._weight(value))
            else:
                inputs.append(self._activation(value, target))
        outputs = [
            _like(value, f"{value.name}.float" if _is_float(value) else str(value.name), value.dtype)
            for value in node.outputs
        ]
        self.nodes.append(
            ir.Node(node.domain, node.op_type, inputs, _attributes(node), outputs=outputs, name=node.name)
        )
        for value, output in zip(node.outputs, outputs, strict=True):
            if not _is_float(value):
                self.held[str(value.name)] = output
            elif moved_weight:
                self._moved_weight(node, value, output)
            else:
                self.held[str(value.name)] = self._quantize(output, str(value.name), self._encoding(value))

    def _moved_weight(self, node: ir.Node, value: ir.Value, output: ir.Value) -> None:
        """Quantize what was gathered from a weight on the weight's grid, then convert it to its own (rule 4)."""
        source = node.inputs[0]
        assert source is not None
        grid = self.encodings.params[str(source.name)]
        if grid.axis is not None:
            raise QuantizationError(
                f"{node.op_type} reads it, so its encoding must be per tensor",
                where=str(source.name),
                remedy="quantize the embedding per tensor",
            )
        own = self._encoding(value)
        if grid.same_grid(own):
            self.held[str(value.name)] = self._quantize(output, str(value.name), own)
            return
        gathered = self._quantize(output, f"{value.name}.rows", grid, stored_type(grid, str(source.name)))
        again = self._dequantize(gathered, f"{value.name}.rows.dq", grid, stored_type(grid, str(source.name)))
        self.held[str(value.name)] = self._quantize(again, str(value.name), own)

    def _activation(self, value: ir.Value, target: Encoding | None) -> ir.Value:
        """What a node reads of `value`; in the grid `target` when it is given and another than the value's own."""
        name, own = str(value.name), self._encoding(value)
        grid = own if target is None or own.same_grid(target) else target
        key = (name, _grid_key(grid))
        if key not in self.read:
            if grid is own:
                self.read[key] = self._dequantize(self.held[name], f"{name}.dq", own)
            else:
                source = self._activation(value, None)
                converted = f"{name}.to_{grid.bitwidth}_{sum(held == name for held, _ in self.read)}"
                self.read[key] = self._dequantize(self._quantize(source, converted, grid), f"{converted}.dq", grid)
        return self.read[key]

    def _weight(self, value: ir.Value) -> ir.Value:
        """A weight's dequantized value; its integers and scales go to the file."""
        name = str(value.name)
        if (name, "") in self.read:
            return self.read[name, ""]
        encoding = self.encodings.params.get(name)
        if encoding is None:
            raise _no_encoding(name, "weight")
        encoding = held_encoding(value, encoding)
        dtype = stored_type(encoding, name)
        shape = tuple(value.shape.numpy()) if value.shape is not None else ()
        integers = self._initializer(self.weights.add(name, dtype, shape, rounded(value, encoding)))
        scale = np.atleast_1d(np.asarray(encoding.scale, np.float32))
        if encoding.blocks is None:
            per = scale if encoding.axis is not None else scale.reshape(())
            attributes = {} if encoding.axis is None else {"axis": encoding.axis}
            inputs = [integers, self._stored(f"{name}.scale", per)]
            if not encoding.symmetric:
                offset = np.atleast_1d(encoding.offset)
                points = (-offset if encoding.axis is not None else -offset.reshape(())).astype(dtype.numpy())
                inputs.append(self._stored(f"{name}.zero_point", points))
            elif dtype == ir.DataType.INT4:
                inputs.append(self._zeros(dtype, per.shape))
        else:
            blocks = encoding.blocks
            per_block = self._stored(f"{name}.block_scale", blocks.int_scale.astype(np.uint8))
            per_channel = self._stored(f"{name}.scale", scale)
            scale_inputs = [per_block, per_channel, self._zeros(ir.DataType.UINT8, scale.shape)]
            effective = self._node(
                "DequantizeLinear", scale_inputs, f"{name}.effective_scale", blocks.int_scale.shape, {"axis": 1}
            )
            attributes = {"axis": 0, "block_size": blocks.block_size}
            inputs = [integers, effective, self._zeros(dtype, blocks.int_scale.shape)]
        self.read[name, ""] = self._node("DequantizeLinear", inputs, f"{name}.dq", shape, attributes)
        return self.read[name, ""]

    def _stored(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ir.Value:
        dtype = ir.DataType.from_numpy(values.dtype)
        return self._initializer(self.weights.add(name, dtype, values.shape, iter([values])))

    def _zeros(self, dtype: ir.DataType, shape: tuple[int, ...]) -> ir.Value:
        """Zero points; one for all weights of a shape, for the compiler's time grows with the count of initializers."""
        name = f"zero_{dtype.short_name()}_" + "x".join(str(size) for size in shape)
        if name not in self.initializers:
            zeros = np.zeros(shape, np.int8 if dtype == ir.DataType.INT4 else dtype.numpy())
            self._initializer(self.weights.add(name, dtype, shape, iter([zeros])))
        return self.initializers[name]

    def _plain(self, value: ir.Value) -> ir.Value:
        """A tensor that is not float: itself."""
        name = str(value.name)
        if name not in self.held:
            self.held[name] = self._initializer(
                ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
            )
        return self.held[name]

    def _quantize(self, source: ir.Value, name: str, grid: Encoding, dtype: ir.DataType | None = None) -> ir.Value:
        dtype = dtype or _activation_type(grid, name)
        shape = tuple(source.shape.numpy()) if source.shape is not None else ()
        return self._node("QuantizeLinear", [source, *self._scalars(grid, dtype)], name, shape, {}, dtype)

    def _dequantize(self, source: ir.Value, name: str, grid: Encoding, dtype: ir.DataType | None = None) -> ir.Value:
        shape = tuple(source.shape.numpy()) if source.shape is not None else ()
        scalars = self._scalars(grid, dtype or _activation_type(grid, name))
        return self._node("DequantizeLinear", [source, *scalars], name, shape, {})

    def _scalars(self, grid: Encoding, dtype: ir.DataType) -> list[ir.Value]:
        """Scale and zero point as initializers in the graph; equal ones are one."""
        scale = np.asarray(grid.scale, np.float32).reshape(-1)[0]
        signed = dtype in (ir.DataType.INT8, ir.DataType.INT16)
        point = 0 if signed else -int(np.asarray(grid.offset).reshape(-1)[0])
        values = []
        for name, array in (
            (f"scale_{scale.view(np.uint32):08x}", np.asarray(scale, np.float32)),
            (f"zero_point_{dtype.short_name()}_{point}", np.asarray(point, dtype.numpy())),
        ):
            if name not in self.initializers:
                tensor = ir.Tensor(array, name=name)
                self.initializers[name] = ir.Value(
                    name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(()), const_value=tensor
                )
            values.append(self.initializers[name])
        return values

    def _node(
        self,
        op_type: str,
        inputs: list[ir.Value],
        output: str,
        shape: tuple[int, ...],
        attributes: dict[str, int],
        dtype: ir.DataType = ir.DataType.FLOAT,
    ) -> ir.Value:
        value = ir.Value(name=output, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        given = [ir.AttrInt64(key, number) for key, number in attributes.items()]
        self.nodes.append(ir.Node("", op_type, inputs, given, outputs=[value], name=f"{output}/{op_type}"))
        return value

    def _initializer(self, value: ir.Value) -> ir.Value:
        return self.initializers.setdefault(str(value.name), value)

    def _encoding(self, value: ir.Value) -> Encoding:
        encoding = self.encodings.activations.get(str(value.name))
        if encoding is None:
            raise _no_encoding(str(value.name), "tensor")
        return encoding

    def _held_type(self, value: ir.Value) -> ir.DataType:
        return _activation_type(self._encoding(value), str(value.name))


def _activation_type(encoding: Encoding, name: str) -> ir.DataType:
    if encoding.axis is not None or encoding.bitwidth not in _HELD:
        raise QuantizationError(
            f"an activation is held in 8 or 16 bits per tensor, its encoding has {encoding.bitwidth} bits"
            + (" per channel" if encoding.axis is not None else ""),
            where=name,
            remedy="set act_bitwidth to 8 or 16",
        )
    return _HELD[encoding.bitwidth]


def _check_tied(encodings: Encodings) -> None:
    for name, encoding in encodings.activations.items():
        if name.startswith(("past_key_", "past_value_")) and name.endswith("_in"):
            out = encodings.activations.get(name.removesuffix("_in") + "_out")
            if out is not None and not encoding.same_grid(out):
                raise QuantizationError(
                    "its encoding is not that of the output it comes from",
                    where=name,
                    remedy="keys and values must have the same encoding going out and coming in",
                )


def _no_encoding(name: str, kind: str) -> QuantizationError:
    return QuantizationError(
        f"this {kind} has no encoding",
        where=name,
        remedy="run quantization on this model again, or add the encoding to the file the recipe names",
    )


def _grid_key(encoding: Encoding) -> str:
    return f"{encoding.bitwidth} {encoding.scale.tobytes().hex()} {encoding.offset.tolist()}"


def _is_float(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.FLOAT


def _like(value: ir.Value, name: str, dtype: ir.DataType | None) -> ir.Value:
    return ir.Value(name=name, type=None if dtype is None else ir.TensorType(dtype), shape=value.shape)


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())
