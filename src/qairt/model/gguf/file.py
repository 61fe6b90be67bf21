"""The header of a GGUF file, read without its weights and without creating a Python object per vocabulary entry.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. (`gguf.GGUFReader` creates an array object for every
token and merge, which takes seconds: too long for `plan`.)
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeAlias

from qairt.errors import ModelError
from qairt.files import open_regular
from qairt.model.weights import require_apart

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMS = 4  # GGML_MAX_DIMS
_MAX_COUNT = 1 << 24
"""Tensors, fields and strings of an array; the largest vocabularies have a sixtieth of it."""

BLOCKS = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
"""Storage type id -> its name, elements per block, bytes per block."""


@dataclass(frozen=True)
class GgufTensor:
    """The location of a tensor. `shape` is in NumPy's order (GGUF writes it reversed)."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    nbytes: int

    def rows(self, start: int, count: int) -> GgufTensor:
        """Some rows of a matrix, as a separate tensor."""
        row = self.nbytes // self.shape[0]
        return replace(self, shape=(count, *self.shape[1:]), offset=self.offset + start * row, nbytes=count * row)


@dataclass(frozen=True)
class GgufArray:
    """An array field, left in the file until `GgufHeader` reads it."""

    item_type: int
    count: int
    offset: int

    @property
    def holds_strings(self) -> bool:
        return self.item_type == _STRING


GgufValue: TypeAlias = bool | int | float | str | GgufArray


@dataclass(frozen=True)
class GgufHeader:
    """Fields and tensors of one file."""

    path: Path
    fields: dict[str, GgufValue]
    tensors: dict[str, GgufTensor]

    def strings(self, key: str) -> list[str]:
        """The values of an array field of strings.

        Raises:
            ModelError: there is no such field.
        """
        field = self._array(key, strings=True)
        with open_regular(self.path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            values, position = [], field.offset
            for _ in range(field.count):
                (length,) = _U64.unpack_from(data, position)
                position += 8 + length
                values.append(data[position - length : position].decode("utf-8", errors="replace"))
            return values

    def numbers(self, key: str) -> list[float]:
        """The values of an array field of numbers.

        Raises:
            ModelError: there is no such field.
        """
        field = self._array(key, strings=False)
        with open_regular(self.path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return list(struct.unpack_from(f"<{field.count}{_SCALARS[field.item_type][1]}", data, field.offset))

    def _array(self, key: str, *, strings: bool) -> GgufArray:
        field = self.fields.get(key)
        if not isinstance(field, GgufArray) or field.holds_strings != strings:
            raise ModelError(
                f"the GGUF header has no {key}", where=str(self.path), remedy="convert the model with its tokenizer"
            )
        return field


_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


def read_gguf_header(path: Path) -> GgufHeader:
    """Read fields and tensor locations of a GGUF file (versions 2 and 3).

    Raises:
        ModelError: not a GGUF file, truncated, one part of several, or a storage type that cannot be dequantized.
    """
    size = path.stat().st_size
    if size < 24:
        raise _truncated(path, size, "at least 24 bytes of header")
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise ModelError(
                "not a GGUF file (it does not start with 'GGUF')",
                where=str(path),
                remedy="use a .gguf file, or a directory with config.json and .safetensors",
            )
        (version,) = _U32.unpack_from(data, 4)
        if version not in (2, 3):
            raise ModelError(
                f"GGUF version {version} is not supported (or the file is big-endian)",
                where=str(path),
                remedy="supported: little-endian versions 2 and 3",
            )
        try:
            header = _Cursor(data, path).header()
        except (struct.error, IndexError, OverflowError, UnicodeDecodeError) as error:
            raise _truncated(path, size, "a complete header") from error
    end = max((tensor.offset + tensor.nbytes for tensor in header.tensors.values()), default=0)
    if size < end:
        raise _truncated(path, size, f"{end:,} bytes")
    require_apart(((tensor.offset, tensor.nbytes, tensor.name) for tensor in header.tensors.values()), path)
    parts = header.fields.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise ModelError(
            f"this is one of {parts} parts of a model",
            where=str(path),
            remedy="join them first: llama-gguf-split --merge",
        )
    return header


def _truncated(path: Path, size: int, expected: str) -> ModelError:
    return ModelError(
        f"the GGUF file is truncated: it has {size:,} bytes, expected {expected}",
        where=str(path),
        remedy="download or copy it again",
    )


class _Cursor:
    """A position in the header that advances as values are read."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.position = data, path, 8

    def header(self) -> GgufHeader:
        tensor_count, field_count = self.count("tensors"), self.count("fields")
        fields: dict[str, GgufValue] = {}
        for _ in range(field_count):
            key = self.string()
            fields[key] = self.value(self.integer("<I"))
        relative = [self.tensor() for _ in range(tensor_count)]
        alignment = fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise ModelError(
                f"the GGUF header has an alignment of {alignment}",
                where=str(self.path),
                remedy="download or copy it again",
            )
        start = -(-self.position // alignment) * alignment
        tensors = {tensor.name: replace(tensor, offset=start + tensor.offset) for tensor in relative}
        return GgufHeader(self.path, fields, tensors)

    def scalar(self, code: str) -> bool | int | float:
        value: bool | int | float = struct.unpack_from(code, self.data, self.position)[0]
        self.position += struct.calcsize(code)
        return value

    def integer(self, code: str) -> int:
        return int(self.scalar(code))

    def count(self, what: str) -> int:
        """How many of something follow.

        Raises:
            ModelError: more than any file has.
        """
        found = self.integer("<Q")
        if found > _MAX_COUNT:
            raise ModelError(
                f"the GGUF header says that it has {found:,} {what}",
                where=str(self.path),
                remedy="download or copy it again",
            )
        return found

    def string(self) -> str:
        length = self.integer("<Q")
        text = self.data[self.position : self.position + length]
        if len(text) != length:
            raise IndexError
        self.position += length
        return text.decode()

    def value(self, kind: int) -> GgufValue:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        if kind not in _SCALARS:
            raise ModelError(f"GGUF field of unknown type {kind}", where=str(self.path), remedy="download it again")
        return self.scalar(_SCALARS[kind])

    def array(self) -> GgufArray:
        item_type, count = self.integer("<I"), self.count("values in an array")
        array = GgufArray(item_type, count, self.position)
        if item_type == _STRING:
            read, data, position = _U64.unpack_from, self.data, self.position
            for _ in range(count):
                position += 8 + read(data, position)[0]
            self.position = position
        elif item_type in _SCALARS:
            self.position += count * struct.calcsize(_SCALARS[item_type])
        else:
            raise ModelError(
                f"GGUF array of type {item_type} is not supported", where=str(self.path), remedy="download it again"
            )
        if self.position > len(self.data):
            raise IndexError
        return array

    def tensor(self) -> GgufTensor:
        """One tensor's location, its offset still relative to the data section."""
        name, dims = self.string(), self.integer("<I")
        if dims > _MAX_DIMS:
            raise ModelError(
                f"the GGUF header says that tensor {name} has {dims:,} dimensions",
                where=str(self.path),
                remedy="download or copy it again",
            )
        shape = tuple(reversed([self.integer("<Q") for _ in range(dims)]))
        type_id, offset = self.integer("<I"), self.integer("<Q")
        if type_id not in BLOCKS:
            raise ModelError(
                f"tensor {name} is stored as GGUF type {type_id}, which cannot be dequantized",
                where=str(self.path),
                remedy=f"supported: {', '.join(kind for kind, _, _ in BLOCKS.values())}",
            )
        _, elements, size = BLOCKS[type_id]
        return GgufTensor(name, shape, type_id, offset, prod(shape) // elements * size)
