"""Constants that a quantized graph dequantizes: what they are made of, and their values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from qairt.errors import GraphError
from qairt.files import open_regular
from qairt.quant.nibbles import unpack_signed

Floats = NDArray[np.float32]
Source = tuple[object, ...]
"""What a constant is made of: where its integers and scales lie, or their bytes. Of equal sources it is the same."""

_TYPES: Mapping[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.UINT16: np.uint16,
}


class StoredTensors:
    """A graph's initializers."""

    def __init__(self, tensors: Mapping[str, TensorProto], folder: Path) -> None:
        """
        Args:
            tensors: by name.
            folder: of the graph's file.
        """
        self._tensors = tensors
        self._folder = folder
        self._files: dict[str, tuple[Source, NDArray[np.uint8]]] = {}

    def readable(self, name: str) -> TensorProto | None:
        """A tensor of a known type, whose bytes lie in the graph's file or in one beside it."""
        tensor = self._tensors.get(name)
        if tensor is None or (tensor.data_type != TensorProto.INT4 and tensor.data_type not in _TYPES):
            return None
        if tensor.data_location != TensorProto.EXTERNAL:
            return tensor if tensor.HasField("raw_data") else None
        location, _, length = _lies(tensor)
        return tensor if length and os.path.basename(location) == location else None

    def source(self, tensor: TensorProto) -> Source:
        """
        Raises:
            OSError: its file is missing.
        """
        kind = (tensor.data_type, *tensor.dims)
        if tensor.data_location != TensorProto.EXTERNAL:
            return *kind, tensor.raw_data
        location, offset, length = _lies(tensor)
        return *kind, self._file(location)[0], offset, length

    def floats(self, tensor: TensorProto, out: Floats | None = None) -> Floats:
        """The numbers of a tensor, in `out` or a new array.

        Raises:
            GraphError: its file is shorter than the graph says.
            OSError: its file is missing.
        """
        shape = tuple(tensor.dims)
        values = np.empty(shape, np.float32) if out is None else out
        if tensor.data_type == TensorProto.INT4:
            unpack_signed(self._bytes(tensor), values)
        else:
            values[...] = self._bytes(tensor).view(_TYPES[tensor.data_type]).reshape(shape)
        return values

    def _bytes(self, tensor: TensorProto) -> NDArray[np.uint8]:
        if tensor.data_location != TensorProto.EXTERNAL:
            return np.frombuffer(tensor.raw_data, np.uint8)
        location, offset, length = _lies(tensor)
        stored = self._file(location)[1][offset : offset + length]
        if len(stored) < length:
            raise GraphError(f"{location} is shorter than the graph says")
        return stored

    def _file(self, location: str) -> tuple[Source, NDArray[np.uint8]]:
        """A file's identity, and its bytes."""
        if location not in self._files:
            with open_regular(self._folder / location) as file:
                state = os.fstat(file.fileno())
                mapped = np.memmap(file, np.uint8, "r") if state.st_size else np.empty(0, np.uint8)
            self._files[location] = (state.st_dev, state.st_ino), np.asarray(mapped)
        return self._files[location]


@dataclass(frozen=True)
class Constant:
    """The output of a `DequantizeLinear` of constants."""

    node: NodeProto
    tensors: StoredTensors
    stored: TensorProto
    scale: TensorProto | Constant
    zero_point: TensorProto | None
    axis: int
    block_size: int
    """Values along the axis that share a scale; 0: all of one index do."""

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored.dims)

    @property
    def has_one_scale(self) -> bool:
        return isinstance(self.scale, TensorProto) and not self.scale.dims

    def source(self) -> Source:
        """
        Raises:
            OSError: a file is missing.
        """
        read = self.tensors.source
        scale = self.scale.source() if isinstance(self.scale, Constant) else read(self.scale)
        zero_point = () if self.zero_point is None else read(self.zero_point)
        return read(self.stored), scale, zero_point, self.axis, self.block_size

    def values(self, out: Floats | None = None) -> Floats:
        """(q - zero point) * scale, as ONNX Runtime computes it.

        Args:
            out: filled and returned; a new array when None.

        Raises:
            GraphError: a file is shorter than the graph says.
            OSError: a file is missing.
        """
        read = self.tensors.floats
        values = read(self.stored, out)
        scale = self.scale.values() if isinstance(self.scale, Constant) else read(self.scale)
        by_scale = values
        if self.block_size:
            by_scale = values.reshape(*self.shape[: self.axis], -1, self.block_size, *self.shape[self.axis + 1 :])
        if self.zero_point is not None:
            zeros = read(self.zero_point)
            if zeros.any():
                by_scale -= self._spread(zeros)
        by_scale *= self._spread(scale)
        return values

    def _spread(self, each: Floats) -> Floats:
        """A value for each scale, in a shape that broadcasts against the values, by blocks if they have any."""
        if self.block_size:
            return np.expand_dims(each, self.axis + 1)
        if each.ndim == 0:
            return each
        return each.reshape([-1 if axis == self.axis else 1 for axis in range(len(self.shape))])


def constant_of(node: NodeProto, tensors: StoredTensors, known: Mapping[str, Constant]) -> Constant | None:
    """The constant that a node dequantizes, if it does.

    Args:
        tensors: the graph's.
        known: constants that nodes before it dequantize, by name.
    """
    if node.op_type != "DequantizeLinear":
        return None
    stored = tensors.readable(node.input[0])
    scale = known.get(node.input[1]) or tensors.readable(node.input[1])
    zero_point = tensors.readable(node.input[2]) if len(node.input) > 2 else None
    settings = {attribute.name: attribute.i for attribute in node.attribute}
    if stored is None or scale is None or not settings.keys() <= {"axis", "block_size"}:
        return None
    if zero_point is None and len(node.input) > 2:
        return None
    axis = settings.get("axis", 1) % max(len(stored.dims), 1)
    return Constant(node, tensors, stored, scale, zero_point, axis, settings.get("block_size", 0))


def _lies(tensor: TensorProto) -> tuple[str, int, int]:
    """Name of a file, offset and length."""
    named = {entry.key: entry.value for entry in tensor.external_data}
    return named.get("location", ""), int(named.get("offset", 0)), int(named.get("length", 0))
