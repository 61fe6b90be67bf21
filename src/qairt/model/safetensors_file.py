"""The header of a safetensors file, and its tensors as views of the mapped file.

Source: https://huggingface.co/docs/safetensors/index#format. (The `safetensors` package has no bfloat16 for NumPy.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import ModelError
from qairt.files import open_regular, parse_json
from qairt.model.weights import require_apart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_HEADER = 100_000_000
"""Bytes of a header; the same limit as in the `safetensors` package."""
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INTEGERS = {"I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8"}
_BYTES = dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0"), "u1")
_STORED = _DTYPES | _INTEGERS | _BYTES


@dataclass(frozen=True)
class SafetensorsTensor:
    """The location of a tensor: `offset` from the start of the file."""

    shape: tuple[int, ...]
    dtype: str
    offset: int
    nbytes: int

    def rows(self, start: int, count: int) -> SafetensorsTensor:
        """Some rows of its first axis, as a separate tensor."""
        row = self.nbytes // self.shape[0]
        return SafetensorsTensor((count, *self.shape[1:]), self.dtype, self.offset + start * row, count * row)


def read_safetensors_header(path: Path) -> dict[str, SafetensorsTensor]:
    """Name -> location of every tensor in a file.

    Raises:
        ModelError: the file is missing, truncated, or not a safetensors file.
    """
    try:
        size = path.stat().st_size
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= min(size, _MAX_HEADER) else b""
    except OSError as error:
        raise ModelError(
            f"cannot be read: {error.strerror}", where=str(path), remedy="download the whole model"
        ) from error
    if size < 8 or length > size - 8:
        raise _truncated(path, size, f"{8 + length:,} bytes of header" if size >= 8 else "8 bytes of header length")
    try:
        entries = {name: entry for name, entry in parse_json(text).items() if name != "__metadata__"}
        tensors = {name: _located(entry, 8 + length) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ModelError(
            "not a safetensors file: its header is not valid",
            where=str(path),
            remedy="download or copy it again",
        ) from error
    for name, tensor in tensors.items():
        size_of = int(_STORED.get(tensor.dtype, "0")[-1])
        if size_of and tensor.nbytes != prod(tensor.shape) * size_of:
            raise ModelError(
                f"the safetensors header gives {name} {tensor.nbytes:,} bytes for shape {list(tensor.shape)}",
                where=str(path),
                remedy="download or copy it again",
            )
    end = max((tensor.offset + tensor.nbytes for tensor in tensors.values()), default=0)
    if size < end:
        raise _truncated(path, size, f"{end:,} bytes")
    require_apart(((tensor.offset, tensor.nbytes, name) for name, tensor in tensors.items()), path)
    return tensors


def _located(entry: Any, data: int) -> SafetensorsTensor:
    """The tensor of one entry of a header; `data` is where the tensors begin in the file."""
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(number) is int and number >= 0 for number in (begin, end - begin, *shape)):
        raise ValueError("an offset or a shape is not a size")
    return SafetensorsTensor(shape, str(entry["dtype"]), data + begin, end - begin)


def read_safetensors_tensor(
    path: Path, name: str, tensor: SafetensorsTensor, rows: slice = slice(None)
) -> NDArray[np.float32]:
    """A tensor, or some of its rows, as float32; stored float32 is returned as a view of the file.

    Raises:
        ModelError: the stored type is not a plain float.
    """
    import numpy as np

    if tensor.dtype not in _DTYPES:
        raise ModelError(
            f"tensor {name} is stored as {tensor.dtype}",
            where=str(path),
            remedy="use the float model: F32, F16 or BF16",
        )
    count = prod(tensor.shape)
    if count == 0:
        return np.zeros(tensor.shape, np.float32)
    mapped = map_safetensors_tensor(path, tensor)
    stored = mapped[rows] if tensor.shape else mapped
    if tensor.dtype == "BF16":
        bits: NDArray[np.uint32] = stored.astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32)
    return stored.astype(np.float32, copy=False)


def map_safetensors_tensor(path: Path, tensor: SafetensorsTensor) -> NDArray[Any]:
    """A tensor as a read-only view of the file, in the stored type; BF16 as uint16, 8-bit floats as uint8."""
    import numpy as np

    if prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, _STORED[tensor.dtype])
    return np.memmap(path, _STORED[tensor.dtype], "r", tensor.offset, tensor.shape).view(np.ndarray)


def _truncated(path: Path, size: int, expected: str) -> ModelError:
    return ModelError(
        f"the safetensors file is truncated: it has {size:,} bytes, expected {expected}",
        where=str(path),
        remedy="download or copy it again",
    )
