"""One entry of an AIMET encodings file, decoded and checked.

1. A grid is unsigned with `offset = -zero_point`: every offset lies between -(2^bits - 1) and 0.
2. Symmetric means offset -2^(bits - 1) (signed) or 0 (unsigned: 0 … 2^bits - 1 times the scale). AIMET's strict
   symmetric grid, which leaves out the lowest integer (offset -2^(bits - 1) + 1), is stored as the signed one.
3. Nothing is rounded, cut off or guessed: a number that does not fit is a fault that names its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from qairt.quant.encodings import BlockScales, Encoding, Floats, Integers

CHANNEL_AXIS = 1
"""Versions 0.6.1 and 1.0.0 do not state the channel axis. It is 1, as in a MatMul weight [in, out]."""


class EntryError(ValueError):
    """An entry is no usable encoding: what is wrong, and what to do about it."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy or "export the encodings again, in AIMET's version 1.0.0"


def decode_061(value: JsonValue) -> Encoding:
    """An entry of version 0.6.1: a list with one mapping per channel.

    Raises:
        EntryError: it is no encoding that an NPU graph can have.
    """
    if not isinstance(value, list) or not value:
        raise EntryError("its encoding is not a list with one entry per channel")
    entries = [_Entry(channel) for channel in value]
    for key in ("bitwidth", "dtype", "is_symmetric"):
        if len({repr(entry.required(key)) for entry in entries}) > 1:
            raise EntryError(f"its channels differ in {key}")
    first = entries[0]
    _require_integers(first)
    scale = _scales([entry.required("scale") for entry in entries])
    offset = _offsets([entry.required("offset") for entry in entries])
    axis = CHANNEL_AXIS if len(entries) > 1 else None
    return _grid(first.bitwidth("bitwidth"), first.boolean("is_symmetric"), scale, offset, axis)


def decode_100(value: JsonValue) -> Encoding:
    """An entry of version 1.0.0.

    Raises:
        EntryError: it is no encoding that an NPU graph can have.
    """
    entry = _Entry(value)
    kind = entry.required("enc_type")
    if kind not in ("PER_TENSOR", "PER_CHANNEL", "LPBQ"):
        raise EntryError(
            f"enc_type {kind} has no counterpart on the NPU", "quantize it with PER_TENSOR, PER_CHANNEL or LPBQ"
        )
    _require_integers(entry)
    scale, offset = _scales(entry.sequence("scale")), _offsets(entry.sequence("offset"))
    bitwidth, symmetric = entry.bitwidth("bw"), entry.boolean("is_sym")
    if kind == "PER_TENSOR":
        if len(scale) != 1:
            raise EntryError(f"enc_type is PER_TENSOR, but it has {len(scale)} scales")
        return _grid(bitwidth, symmetric, scale, offset, None)
    axis = entry.integer("axis", CHANNEL_AXIS)
    if kind == "PER_CHANNEL":
        return _grid(bitwidth, symmetric, scale, offset, axis)
    grid = _grid(bitwidth, symmetric, scale, offset, axis)
    compressed = entry.bitwidth("compressed_bw")
    integers = _block_integers(entry.sequence("per_block_int_scale"), len(scale), bitwidth, compressed)
    return _lpbq(compressed, grid, BlockScales(entry.integer("block_size"), integers, bitwidth))


def decode_200(value: JsonValue) -> Encoding:
    """An entry of version 2.0.0: signed with zero point 0 if it is symmetric.

    Raises:
        EntryError: it is no encoding that an NPU graph can have.
    """
    entry = _Entry(value)
    dtype = str(entry.required("output_dtype"))
    kind, bits = dtype.rstrip("0123456789"), dtype.lstrip("uint")
    if kind not in ("int", "uint") or not bits:
        raise EntryError(f"output_dtype {dtype} is not an integer type", _INTEGERS)
    bitwidth, middle = _bits("output_dtype", int(bits)), (1 << int(bits) - 1) if kind == "int" else 0
    if "per_channel_float_scale" in entry:
        scale = _scales(entry.numbers("per_channel_float_scale"))
        rows = entry.sequence("per_block_int_scale")
        widths = {len(row) if isinstance(row, list) else 0 for row in rows}
        if widths != {len(scale)} and (len(rows) != len(scale) or len(widths) != 1):
            raise EntryError(f"per_block_int_scale does not fit its {len(scale)} channels")
        flat = entry.numbers("per_block_int_scale")
        if widths == {len(scale)}:  # [blocks, channels]
            flat = [flat[place] for channel in range(len(scale)) for place in range(channel, len(flat), len(scale))]
        integers = _block_integers(flat, len(scale), 8, bitwidth)
        signed = _grid(bitwidth, True, scale, np.full(len(scale), -(1 << bitwidth - 1)), CHANNEL_AXIS)
        return _lpbq(bitwidth, signed, BlockScales(entry.integer("block_size"), integers))
    if entry.given("block_size"):
        raise EntryError("block scales without per_channel_float_scale have no counterpart on the NPU", "use LPBQ")
    scale = _scales(entry.numbers("y_scale"))
    points = _offsets(entry.numbers("y_zero_point") if entry.given("y_zero_point") else [0], "y_zero_point")
    if len(points) not in (1, len(scale)):
        raise EntryError(f"it has {len(scale)} scales and {len(points)} zero points")
    offset = np.broadcast_to(-(points + middle), scale.shape).copy()
    axis = entry.integer("axis") if len(scale) > 1 or entry.given("axis") else None
    return _grid(bitwidth, kind == "int" and not points.any(), scale, offset, axis)


def _grid(bitwidth: int, symmetric: bool, scale: Floats, offset: Integers, axis: int | None) -> Encoding:
    """Rules 1 and 2."""
    if len(scale) != len(offset):
        raise EntryError(f"it has {len(scale)} scales and {len(offset)} offsets")
    lowest, middle = 1 - (1 << bitwidth), -(1 << bitwidth - 1)
    for place, value in enumerate(offset.tolist()):
        if not lowest <= value <= 0:
            raise EntryError(f"offset{_place(place, offset)} is {value}: with {bitwidth} bits it is {lowest} to 0")
    if not symmetric or not offset.any():
        return Encoding(bitwidth, False, scale, offset, axis)
    if not np.isin(offset, (middle, middle + 1)).all():
        odd = next(place for place, value in enumerate(offset) if value not in (middle, middle + 1))
        raise EntryError(
            f"it is symmetric, but offset{_place(odd, offset)} is {offset[odd]}: with {bitwidth} bits"
            f" that is {middle} (signed) or 0 (unsigned)"
        )
    return Encoding(bitwidth, True, scale, np.full(len(scale), middle, np.int64), axis)


def _lpbq(bitwidth: int, grid: Encoding, blocks: BlockScales) -> Encoding:
    """The encoding of `bitwidth` that decompresses to `grid`."""
    if not grid.symmetric:
        raise EntryError("LPBQ weights are signed: is_sym must be true, and offset -2^(bw - 1)")
    if blocks.block_size < 1:
        raise EntryError(f"block_size is {blocks.block_size}")
    offset = np.full(len(grid.scale), -(1 << bitwidth - 1), np.int64)
    return Encoding(bitwidth, True, grid.scale, offset, grid.axis, blocks)


def _block_integers(rows: Sequence[JsonValue], channels: int, decompressed: int, compressed: int) -> NDArray[np.uint8]:
    """Integers [blocks, channels] of flat ones, channel by channel."""
    key, highest = "per_block_int_scale", 1 << max(decompressed - compressed, 0)
    values = _numbers(key, rows)
    if len(values) % channels:
        raise EntryError(f"{key} has {len(values)} values, no multiple of its {channels} channels")
    outside = np.flatnonzero((values < 1) | (values > highest) | (values % 1 != 0))
    if len(outside):
        place = int(outside[0])
        raise EntryError(f"{key}[{place}] is {rows[place]}: it must be an integer from 1 to {highest}")
    return np.ascontiguousarray(values.reshape(channels, -1).T, np.uint8)


def _scales(values: Sequence[JsonValue]) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        scale = _numbers("scale", values).astype(np.float32)
    odd = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))  # what float32 cannot hold is zero or infinite there
    if len(odd):
        place = int(odd[0])
        raise EntryError(f"scale{_place(place, values)} is {values[place]}: it must be a positive number")
    return scale


def _offsets(values: Sequence[JsonValue], key: str = "offset") -> Integers:
    numbers = _numbers(key, values)
    odd = np.flatnonzero(~np.isfinite(numbers) | (numbers % 1 != 0))
    if len(odd):
        place = int(odd[0])
        raise EntryError(f"{key}{_place(place, values)} is {values[place]}: it must be an integer")
    return numbers.astype(np.int64)


def _numbers(key: str, values: Sequence[JsonValue]) -> NDArray[np.float64]:
    """Numbers as float64, which holds every 32-bit integer."""
    if not values:
        raise EntryError(f"its encoding has no {key}")
    kinds = set(map(type, values)) - {int, float}
    if kinds:
        place = next(place for place, value in enumerate(values) if type(value) in kinds)
        raise EntryError(f"{key}{_place(place, values)} is {_json(values[place])}: it must be a number")
    return np.array(values, np.float64)


def _place(place: int, values: Sequence[object] | NDArray[np.int64]) -> str:
    return f"[{place}]" if len(values) > 1 else ""


def _json(value: JsonValue) -> str:
    return "null" if value is None else repr(value)


_INTEGERS = "quantize it to integers: 8 or 16 bits for activations, 4 or 8 for weights"


def _require_integers(entry: _Entry) -> None:
    dtype = entry.required("dtype")
    if str(dtype).lower() != "int":
        raise EntryError(f"dtype {dtype} is not an integer type", _INTEGERS)


def _bits(key: str, bits: int) -> int:
    if not 2 <= bits <= 32:
        raise EntryError(f"{key} is {bits}: grids have 2 to 32 bits")
    return bits


class _Entry:
    """A mapping of an encodings file."""

    def __init__(self, value: JsonValue) -> None:
        if not isinstance(value, dict):
            raise EntryError(f"its encoding is {_json(value)}, not a mapping")
        self._values = value

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def given(self, key: str) -> bool:
        return self._values.get(key) is not None

    def required(self, key: str) -> JsonValue:
        if not self.given(key):
            raise EntryError(f"its encoding has no {key}")
        return self._values[key]

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.required(key) if default is None else self._values.get(key, default)
        if isinstance(value, str) and value.isdecimal():  # AIMET 0.6.1 quotes some of its values
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
            raise EntryError(f"{key} is {_json(value)}: it must be an integer")
        return int(value)

    def bitwidth(self, key: str) -> int:
        return _bits(key, self.integer(key))

    def boolean(self, key: str) -> bool:
        value = str(self.required(key)).lower()  # quoted in 0.6.1
        if value not in ("true", "false"):
            raise EntryError(f"{key} is {_json(self._values[key])}: it must be true or false")
        return value == "true"

    def sequence(self, key: str) -> list[JsonValue]:
        value = self.required(key)
        if not isinstance(value, list):
            raise EntryError(f"{key} is {_json(value)}: it must be a list")
        return value

    def numbers(self, key: str) -> list[JsonValue]:
        """A number, or an array of any shape, as a flat list."""
        flat: list[JsonValue] = []
        stack = [self.required(key)]
        while stack:
            value = stack.pop()
            if isinstance(value, list):
                stack += reversed(value)
            else:
                flat.append(value)
        return flat
