"""The header of a GGUF file, read without its weights and without walking through its vocabulary in Python objects.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. (`gguf.GGUFReader` makes an array object of every
token and merge, which takes seconds; a plan has less time than that.)
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from qairt.errors import ModelError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

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
    """Where a tensor lies. `shape` is in NumPy's order (GGUF writes it reversed)."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    nbytes: int


@dataclass(frozen=True)
class GgufArray:
    """An array field, left in the file until `GgufHeader.array` reads it."""

    item_type: int
    count: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """Fields (arrays as `GgufArray`) and tensors of one file."""

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, GgufTensor]

    def array(self, key: str) -> list[Any]:
        """The values of the array field `key`; a KeyError where there is none."""
        field: GgufArray = self.fields[key]
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if field.item_type != _STRING:
                code = _SCALARS[field.item_type][1]
                return list(struct.unpack_from(f"<{field.count}{code}", data, field.offset))
            values, position = [], field.offset
            for _ in range(field.count):
                (length,) = _U64.unpack_from(data, position)
                position += 8 + length
                values.append(data[position - length : position].decode("utf-8", errors="replace"))
            return values


_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


def read_gguf_header(path: Path) -> GgufHeader:
    """Read fields and tensor places of a GGUF file (versions 2 and 3).

    Raises:
        ModelError: not a GGUF file, truncated, one part of several, or a storage type that cannot be dequantized.
    """
    size = path.stat().st_size
    if size < 24:
        raise _truncated(path, size, "24 bytes of header at the least")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise ModelError(
                "not a GGUF file (it does not begin with 'GGUF')",
                where=str(path),
                remedy="give a .gguf file, or a directory with config.json and .safetensors",
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
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise _truncated(path, size, "a complete header") from error
    end = max((tensor.offset + tensor.nbytes for tensor in header.tensors.values()), default=0)
    if size < end:
        raise _truncated(path, size, f"{end:,} bytes")
    parts = header.fields.get("split.count", 1)
    if parts > 1:
        raise ModelError(
            f"this is one part of a model cut into {parts} files",
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
    """A place in the header that moves on as values are read."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.position = data, path, 8

    def header(self) -> GgufHeader:
        tensor_count, field_count = self.number("<Q"), self.number("<Q")
        fields = {}
        for _ in range(field_count):
            key = self.string()
            fields[key] = self.value(self.number("<I"))
        places = [self.tensor() for _ in range(tensor_count)]
        alignment = fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise ModelError(
                f"the GGUF header states an alignment of {alignment}",
                where=str(self.path),
                remedy="download or copy it again",
            )
        start = -(-self.position // alignment) * alignment
        tensors = {place.name: GgufTensor(**(vars(place) | {"offset": start + place.offset})) for place in places}
        return GgufHeader(self.path, fields, tensors)

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from(code, self.data, self.position)
        self.position += struct.calcsize(code)
        return value

    def string(self) -> str:
        length = self.number("<Q")
        text = self.data[self.position : self.position + length]
        if len(text) != length:
            raise IndexError
        self.position += length
        return text.decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array()
        if kind not in _SCALARS:
            raise ModelError(f"GGUF field of unknown type {kind}", where=str(self.path), remedy="download it again")
        return self.number(_SCALARS[kind])

    def array(self) -> GgufArray:
        item_type, count = self.number("<I"), self.number("<Q")
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
        return array

    def tensor(self) -> GgufTensor:
        """One tensor's place, its offset still relative to the data section."""
        name, dims = self.string(), self.number("<I")
        shape = tuple(reversed([self.number("<Q") for _ in range(dims)]))
        type_id, offset = self.number("<I"), self.number("<Q")
        if type_id not in BLOCKS:
            raise ModelError(
                f"tensor {name} is stored as GGUF type {type_id}, which cannot be dequantized",
                where=str(self.path),
                remedy=f"supported: {', '.join(kind for kind, _, _ in BLOCKS.values())}",
            )
        _, elements, size = BLOCKS[type_id]
        return GgufTensor(name, shape, type_id, offset, prod(shape) // elements * size)
