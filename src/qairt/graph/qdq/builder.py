"""Nodes, initializers and weights of a QDQ graph, as they are added one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.graph.qdq.weights import WeightFile, rounded, storage_encoding, stored_type
from qairt.quant.encodings import BlockScales, Encoding

_STORED = {8: ir.DataType.UINT8, 16: ir.DataType.UINT16}


class QdqBuilder:
    """Collects the parts of a graph; equal constants are shared."""

    def __init__(self, weights: WeightFile) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self._weights = weights

    def quantize(self, source: ir.Value, name: str, grid: Encoding, dtype: ir.DataType | None = None) -> ir.Value:
        """Add a QuantizeLinear that writes `name`."""
        dtype = dtype or activation_type(grid, name)
        return self._node(
            "QuantizeLinear", [source, *self._scale_and_zero_point(grid, dtype)], name, _shape(source), dtype
        )

    def dequantize(self, source: ir.Value, name: str, grid: Encoding, dtype: ir.DataType | None = None) -> ir.Value:
        """Add a DequantizeLinear that writes `name`."""
        constants = self._scale_and_zero_point(grid, dtype or activation_type(grid, name))
        return self._node("DequantizeLinear", [source, *constants], name, _shape(source))

    def dequantized_weight(self, weight: ir.Value, encoding: Encoding) -> ir.Value:
        """Write a weight's integers and scales to the file; returns its dequantized value."""
        name = str(weight.name)
        encoding = storage_encoding(weight, encoding)
        dtype = stored_type(encoding, name)
        shape = _shape(weight)
        integers = self.initializer(self._weights.add(name, dtype, shape, rounded(weight, encoding)))
        if encoding.blocks is not None:
            inputs = [integers, *self._block_scales(name, dtype, encoding, encoding.blocks)]
            attributes = {"axis": 0, "block_size": encoding.blocks.block_size}
        else:
            inputs = [integers, *self._channel_scales(name, dtype, encoding)]
            attributes = {} if encoding.axis is None else {"axis": encoding.axis}
        return self._node("DequantizeLinear", inputs, f"{name}.dq", shape, attributes=attributes)

    def initializer(self, value: ir.Value) -> ir.Value:
        """Add an initializer, or return the one of that name."""
        return self.initializers.setdefault(str(value.name), value)

    def _channel_scales(self, name: str, dtype: ir.DataType, encoding: Encoding) -> list[ir.Value]:
        """Scale and zero point, per channel or per tensor."""
        scale = np.atleast_1d(np.asarray(encoding.scale, np.float32))
        scale = scale if encoding.axis is not None else scale.reshape(())
        inputs = [self._stored(f"{name}.scale", scale)]
        if not encoding.symmetric:
            offset = np.atleast_1d(encoding.offset)
            points = (-offset if encoding.axis is not None else -offset.reshape(())).astype(dtype.numpy())
            inputs.append(self._stored(f"{name}.zero_point", points))
        elif dtype == ir.DataType.INT4:
            inputs.append(self._zeros(dtype, scale.shape))
        return inputs

    def _block_scales(self, name: str, dtype: ir.DataType, encoding: Encoding, blocks: BlockScales) -> list[ir.Value]:
        """LPBQ: block integers dequantized by the float scale per channel, and a zero point."""
        scale = np.atleast_1d(np.asarray(encoding.scale, np.float32))
        per_block = self._stored(f"{name}.block_scale", blocks.int_scale.astype(np.uint8))
        per_channel = self._stored(f"{name}.scale", scale)
        inputs = [per_block, per_channel, self._zeros(ir.DataType.UINT8, scale.shape)]
        effective = self._node(
            "DequantizeLinear", inputs, f"{name}.effective_scale", blocks.int_scale.shape, attributes={"axis": 1}
        )
        return [effective, self._zeros(dtype, blocks.int_scale.shape)]

    def _stored(self, name: str, values: NDArray[np.generic]) -> ir.Value:
        dtype = ir.DataType.from_numpy(values.dtype)
        return self.initializer(self._weights.add(name, dtype, values.shape, iter([values])))

    def _zeros(self, dtype: ir.DataType, shape: tuple[int, ...]) -> ir.Value:
        """Zero points, shared by all weights of a shape: compile time grows with the number of initializers."""
        name = f"zero_{dtype.short_name()}_" + "x".join(str(size) for size in shape)
        if name not in self.initializers:
            zeros = np.zeros(shape, np.int8 if dtype == ir.DataType.INT4 else dtype.numpy())
            self.initializer(self._weights.add(name, dtype, shape, iter([zeros])))
        return self.initializers[name]

    def _scale_and_zero_point(self, grid: Encoding, dtype: ir.DataType) -> list[ir.Value]:
        """Scalar constants inside the graph."""
        scale = np.asarray(grid.scale, np.float32).reshape(-1)[0]
        is_signed = dtype in (ir.DataType.INT8, ir.DataType.INT16)
        point = 0 if is_signed else -int(np.asarray(grid.offset).reshape(-1)[0])
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
        inputs: Sequence[ir.Value],
        output: str,
        shape: tuple[int, ...],
        dtype: ir.DataType = ir.DataType.FLOAT,
        *,
        attributes: dict[str, int] | None = None,
    ) -> ir.Value:
        value = ir.Value(name=output, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        integers = [ir.AttrInt64(key, number) for key, number in (attributes or {}).items()]
        self.nodes.append(ir.Node("", op_type, inputs, integers, outputs=[value], name=f"{output}/{op_type}"))
        return value


def activation_type(encoding: Encoding, name: str) -> ir.DataType:
    """The integer type that stores an activation.

    Raises:
        QuantizationError: there is none for this encoding.
    """
    if encoding.axis is not None or encoding.bitwidth not in _STORED:
        raise QuantizationError(
            f"activations are stored in 8 or 16 bits per tensor; its encoding has {encoding.bitwidth} bits"
            + (" per channel" if encoding.axis is not None else ""),
            where=name,
            remedy="set act_bitwidth to 8 or 16",
        )
    return _STORED[encoding.bitwidth]


def _shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(value.shape.numpy()) if value.shape is not None else ()
