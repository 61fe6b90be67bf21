"""Rounded weights, written tensor by tensor into one raw file.

    symmetric:   q = step, from -2^(b-1) to 2^(b-1) - 1         stored signed, zero point 0
    asymmetric:  q = step - offset, from 0 to 2^b - 1           stored unsigned, zero point -offset

Steps are those of `qairt.quant.grid`. In an LPBQ weight the scale of block `b` and output channel `o` is
`int_scale[b, o] * per_channel_scale[o]`, in float32. The bytes depend only on the weights and their encodings, so all
ARs of a part write the same file.

Source: LPBQ as the HTP compiler recognises it in ONNX, opset 21 and later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.graph.weights_file import read
from qairt.quant.encodings import SMALLEST_SCALE, Encoding
from qairt.quant.grid import to_steps
from qairt.quant.nibbles import packed

Integers = NDArray[np.generic]

ALIGNMENT = 64
"""Every tensor starts at a multiple of this many bytes."""
CHUNK_ELEMENTS = 1 << 22
"""Elements that are read and rounded at a time."""

_STORED = {
    (4, True): ir.DataType.INT4,
    (8, True): ir.DataType.INT8,
    (8, False): ir.DataType.UINT8,
    (16, True): ir.DataType.INT16,
    (16, False): ir.DataType.UINT16,
}


class WeightFile:
    """One raw file of tensors, each at a multiple of `ALIGNMENT` bytes.

    It appears under its name only when `close` is called.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._file: IO[bytes] = self._partial.open("wb")

    def add(self, name: str, dtype: ir.DataType, shape: tuple[int, ...], chunks: Iterator[Integers]) -> ir.Value:
        """Append one tensor of `shape` in chunks; 4-bit integers arrive one per byte and are packed here."""
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
        offset = self._file.tell()
        for chunk in chunks:
            self._file.write(np.ascontiguousarray(packed(chunk) if dtype == ir.DataType.INT4 else chunk).data)
        length = self._file.tell() - offset
        expected = math.ceil(math.prod(shape) * dtype.itemsize)
        if length != expected:
            raise QuantizationError(f"wrote {length} bytes, expected {expected}", where=name)
        tensor = ir.ExternalTensor(
            self.path.name, offset, length, dtype, shape=ir.Shape(shape), name=name, base_dir=self.path.parent
        )
        return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape), const_value=tensor)

    def close(self) -> None:
        self._file.close()
        self._partial.replace(self.path)

    def abandon(self) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)


def storage_encoding(weight: ir.Value, encoding: Encoding) -> Encoding:
    """The encoding that a weight is stored in: its own, or for a 32-bit bias the 16-bit grid of its largest value."""
    if encoding.bitwidth <= 16:
        return encoding
    largest = np.float32(np.abs(float_values(weight)).max(initial=0))
    scale = np.maximum(largest / np.float32(32767), np.float32(SMALLEST_SCALE))
    return Encoding(16, True, np.asarray([scale], np.float32), np.asarray([-(1 << 15)], np.int64))


def stored_type(encoding: Encoding, name: str) -> ir.DataType:
    """The ONNX type that stores a weight of this encoding.

    Raises:
        QuantizationError: there is none.
    """
    dtype = _STORED.get((encoding.bitwidth, encoding.symmetric))
    if dtype is None:
        kind = "symmetric" if encoding.symmetric else "asymmetric"
        raise QuantizationError(
            f"a weight cannot be stored in {encoding.bitwidth} bits {kind}",
            where=name,
            remedy="use 4 or 8 bits symmetric, or 8 or 16 bits asymmetric",
        )
    return dtype


def rounded(weight: ir.Value, encoding: Encoding) -> Iterator[Integers]:
    """Round a weight, some rows at a time.

    Args:
        weight: an initializer, float32; [in, out] when the encoding is LPBQ.
        encoding: its grid.

    Yields:
        Integers of the stored type (one per byte for 4 bits), rows in order.

    Raises:
        QuantizationError: the encoding does not fit the weight's shape, or the weight is not finite.
    """
    name = str(weight.name)
    values = float_values(weight)
    dtype = stored_type(encoding, name)
    _check_fits(values.shape, encoding, name)
    storage = np.int8 if dtype == ir.DataType.INT4 else dtype.numpy()
    for band, part in encoding.bands(values.shape, CHUNK_ELEMENTS):
        rows = values.reshape(-1)[band] if values.ndim == 0 else values[band]
        if not np.isfinite(rows).all():
            raise QuantizationError("holds NaN or Inf", where=name, remedy="check the model's weights")
        scale = part.effective_scale(rows.shape)
        if encoding.symmetric:
            yield to_steps(rows, scale, -(1 << encoding.bitwidth - 1), encoding.bitwidth).astype(storage)
        else:
            yield np.asarray(part.to_steps(rows) - part.effective_offset(rows.ndim), storage)


def float_values(weight: ir.Value) -> NDArray[np.float32]:
    """A float initializer's values, mapped from its file if it has one.

    Raises:
        QuantizationError: it is not float32.
    """
    tensor = weight.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        raise QuantizationError("is not a float32 initializer", where=str(weight.name))
    return read(tensor)


def _check_fits(shape: tuple[int, ...], encoding: Encoding, name: str) -> None:
    try:
        encoding.check_shape(shape)
    except QuantizationError as error:
        remedy = "encodings and graph belong to different models; run quantization again"
        raise QuantizationError(error.what, where=name, remedy=remedy) from error
