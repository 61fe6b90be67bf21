"""AIMET's encoding files.

1. 0.6.1: name -> list of `{bitwidth, dtype, is_symmetric, min, max, offset, scale}`, one per channel. It has no
   blocks: an LPBQ weight is written as the 8-bit per-channel grid that it decompresses to, with the same values.
2. 1.0.0: lists of `{name, enc_type, dtype, bw, is_sym, scale, offset, …}`. `per_block_int_scale` is flat, all blocks
   of the first output channel, then of the second. An LPBQ offset is that of `bw`, the decompressed bitwidth.
3. 2.0.0 (read only): `{name, output_dtype, y_scale, y_zero_point, axis, block_size, …}`, signed with zero point 0.
4. 0.6.1 and 1.0.0 do not state the channel axis. It is 1, as in a MatMul weight [in, out]; 1.0.0 written here has
   `axis` if it is another one.

Scales are written with the fewest digits that restore the same float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from qairt.errors import QuantizationError
from qairt.quant.encodings import BlockScales, Encoding, Encodings, Floats, Integers

VERSIONS = ("0.6.1", "1.0.0")
CHANNEL_AXIS = 1


class ChannelEntry(TypedDict):
    """One channel of an encoding in version 0.6.1."""

    bitwidth: int
    dtype: str
    is_symmetric: str
    max: float
    min: float
    offset: int
    scale: float


class TensorEntry(TypedDict):
    """An encoding in version 1.0.0."""

    name: str
    enc_type: str
    dtype: str
    bw: int
    is_sym: bool
    scale: list[float]
    offset: list[int]
    block_size: NotRequired[int]
    compressed_bw: NotRequired[int]
    per_block_int_scale: NotRequired[list[int]]
    axis: NotRequired[int]


def write_encodings(encodings: Encodings, version: str = "1.0.0") -> str:
    """The file's text; the same bytes for the same encodings.

    Raises:
        ValueError: `version` is not one of `VERSIONS`.
    """
    if version not in VERSIONS:
        raise ValueError(f"encodings are written in version {' or '.join(VERSIONS)}, not {version}")
    return "".join(_text_of_tensors(encodings, version))


def _text_of_tensors(encodings: Encodings, version: str) -> Iterator[str]:
    """The text tensor by tensor: for all at once `json` needs 100 bytes per integer of a block."""
    named = version == "0.6.1"
    yield f'{{"version":"{version}","excluded_layers":[]'
    for key, group in (("activation_encodings", encodings.activations), ("param_encodings", encodings.params)):
        yield f',"{key}":{"{" if named else "["}'
        for place, (name, encoding) in enumerate(group.items()):
            yield "," * bool(place)
            yield f"{_text(name)}:{_text(_entries_061(encoding))}" if named else _text(_entry_100(name, encoding))
        yield "}" if named else "]"
    yield "}\n"


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def read_encodings(text: str, *, initializers: Collection[str] | None = None) -> Encodings:
    """Read version 0.6.1, 1.0.0 or 2.0.0.

    Args:
        text: the file's content.
        initializers: names of the graph's weights, to tell them from activations in 2.0.0 (which does not); without
            them, names that end in `.weight` or `.bias` are taken for weights.

    Raises:
        QuantizationError: it is not such a file, or holds an encoding that no NPU graph can have.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _unreadable(f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _unreadable(f"its top level is a {type(document).__name__}, not a mapping")
    # Some files of version 0.6.1 do not state their version.
    version = document.get("version", "0.6.1")
    if version == "2.0.0":
        return _read_200(document, initializers)
    if version not in VERSIONS:
        raise _unreadable(f"its version is {version!r}")
    groups = []
    for key in ("activation_encodings", "param_encodings"):
        if key not in document:
            raise _unreadable(f"it has no {key}")
        group = document[key]
        if version == "0.6.1":
            if not isinstance(group, dict):
                raise _unreadable(f"{key} must be a mapping in version 0.6.1")
            groups.append({name: _checked(name, _decode_061, entries) for name, entries in group.items()})
        else:
            if not isinstance(group, list):
                raise _unreadable(f"{key} must be a list in version 1.0.0")
            groups.append({_name(entry): _checked(_name(entry), _decode_100, entry) for entry in group})
    return Encodings(*groups)


# Version 0.6.1


def _entries_061(encoding: Encoding) -> list[ChannelEntry]:
    bitwidth, offset = _decompressed(encoding)
    scale = encoding.scale
    highest = (1 << bitwidth) - 1
    entries = zip(
        _numbers(scale),
        offset.tolist(),
        _numbers((offset * scale).astype(np.float32)),
        _numbers(((highest + offset) * scale).astype(np.float32)),
        strict=True,
    )
    symmetric = str(encoding.symmetric)
    return [
        {
            "bitwidth": bitwidth,
            "dtype": "int",
            "is_symmetric": symmetric,
            "max": high,
            "min": low,
            "offset": zero,
            "scale": step,
        }
        for step, zero, low, high in entries
    ]


def _decode_061(channels: JsonValue) -> Encoding:
    if not isinstance(channels, list):
        raise TypeError("not a list of channels")
    entries = [_Entry(channel) for channel in channels]
    first = entries[0]
    bitwidth = first.integer("bitwidth")
    _require_integers(first["dtype"])
    symmetric = str(first["is_symmetric"]) == "True"
    scale, offset = _arrays([entry["scale"] for entry in entries], [entry["offset"] for entry in entries])
    return Encoding(bitwidth, symmetric, scale, offset, CHANNEL_AXIS if len(scale) > 1 else None)


# Version 1.0.0


def _entry_100(name: str, encoding: Encoding) -> TensorEntry:
    bitwidth, offset = _decompressed(encoding)
    kind = "LPBQ" if encoding.blocks else "PER_TENSOR" if encoding.axis is None else "PER_CHANNEL"
    entry: TensorEntry = {
        "name": name,
        "enc_type": kind,
        "dtype": "INT",
        "bw": bitwidth,
        "is_sym": encoding.symmetric,
        "scale": _numbers(encoding.scale),
        "offset": offset.tolist(),
    }
    if encoding.blocks is not None:
        entry["block_size"] = encoding.blocks.block_size
        entry["compressed_bw"] = encoding.bitwidth
        entry["per_block_int_scale"] = encoding.blocks.int_scale.T.ravel().tolist()
    if encoding.axis is not None and encoding.axis != CHANNEL_AXIS:
        entry["axis"] = encoding.axis
    return entry


def _decode_100(value: JsonValue) -> Encoding:
    entry = _Entry(value)
    kind = entry["enc_type"]
    _require_integers(entry["dtype"])
    scale, offset = _arrays(entry.sequence("scale"), entry.sequence("offset"))
    bitwidth, symmetric = entry.integer("bw"), bool(entry["is_sym"])
    if kind == "PER_TENSOR":
        return Encoding(bitwidth, symmetric, scale, offset)
    axis = entry.integer("axis", CHANNEL_AXIS)
    if kind == "PER_CHANNEL":
        return Encoding(bitwidth, symmetric, scale, offset, axis)
    if kind == "LPBQ":
        blocks = BlockScales(
            entry.integer("block_size"),
            _int_scale(np.array(entry["per_block_int_scale"]).reshape(len(scale), -1).T),
            bitwidth,
        )
        return _lpbq(entry.integer("compressed_bw"), scale, axis, blocks)
    raise ValueError(f"enc_type {kind} has no counterpart on the NPU; use PER_TENSOR, PER_CHANNEL or LPBQ")


# Version 2.0.0


def _read_200(document: dict[str, JsonValue], initializers: Collection[str] | None) -> Encodings:
    entries = document.get("encodings")
    if not isinstance(entries, list):
        raise _unreadable("encodings must be a list in version 2.0.0")
    known = set(initializers) if initializers is not None else None
    result = Encodings()
    for entry in entries:
        name = _name(entry)
        is_weight = name.endswith((".weight", ".bias")) if known is None else name in known
        (result.params if is_weight else result.activations)[name] = _checked(name, _decode_200, entry)
    return result


def _decode_200(value: JsonValue) -> Encoding:
    entry = _Entry(value)
    dtype = str(entry["output_dtype"])
    kind, bits = dtype.rstrip("0123456789"), dtype.lstrip("uint")
    if kind not in ("int", "uint") or not bits:
        raise ValueError(f"output_dtype {dtype} is not an integer type")
    bitwidth, symmetric = int(bits), kind == "int"
    if "per_channel_float_scale" in entry:
        scale = np.array(entry["per_channel_float_scale"], np.float32).reshape(-1)
        per_block = np.array(entry["per_block_int_scale"])
        channels = next(place for place, size in enumerate(per_block.shape) if size == len(scale))
        blocks = BlockScales(entry.integer("block_size"), _int_scale(per_block if channels == 1 else per_block.T))
        return _lpbq(bitwidth, scale, CHANNEL_AXIS, blocks)
    if entry.get("block_size"):
        raise ValueError("block scales without per_channel_float_scale have no counterpart on the NPU; use LPBQ")
    scale = np.array(entry["y_scale"], np.float32)
    points = np.array(entry.get("y_zero_point") or 0, np.int64)
    middle = (1 << bitwidth - 1) if symmetric else 0
    offset = np.broadcast_to(-(points + middle), scale.shape).reshape(-1).copy()
    if symmetric and points.any():
        symmetric = False
    return Encoding(bitwidth, symmetric, scale.reshape(-1), offset, entry.integer("axis") if scale.ndim else None)


# Shared


def _decompressed(encoding: Encoding) -> tuple[int, Integers]:
    """Bitwidth and offsets as AIMET writes them: for an LPBQ weight those of the grid that it decompresses to."""
    if encoding.blocks is None:
        return encoding.bitwidth, encoding.offset
    bitwidth = encoding.blocks.decompressed_bitwidth
    return bitwidth, np.full(len(encoding.scale), -(1 << bitwidth - 1), np.int64)


def _lpbq(bitwidth: int, scale: Floats, axis: int, blocks: BlockScales) -> Encoding:
    return Encoding(bitwidth, True, scale, np.full(len(scale), -(1 << bitwidth - 1), np.int64), axis, blocks)


def _int_scale(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    if values.min() < 1 or values.max() > 255:
        raise ValueError("per_block_int_scale must be integers from 1 to 255")
    return np.ascontiguousarray(values, np.uint8)


def _arrays(scales: Sequence[JsonValue], offsets: Sequence[JsonValue]) -> tuple[Floats, Integers]:
    scale, offset = np.array(scales, np.float32), np.array(offsets, np.int64)
    if len(scale) != len(offset) or not len(scale):
        raise ValueError(f"{len(scale)} scales and {len(offset)} offsets")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError("every scale must be a positive number")
    return scale, offset


def _numbers(values: Floats) -> list[float]:
    """Each as the float64 with the fewest digits that becomes the same float32."""
    return [float(str(value)) for value in values]


def _require_integers(dtype: JsonValue) -> None:
    if str(dtype).lower() != "int":
        raise ValueError(f"dtype {dtype} is not an integer type")


class _Entry:
    """A mapping of an encodings file; every fault is one of the errors that `_checked` explains."""

    def __init__(self, value: JsonValue) -> None:
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is not a mapping")
        self._values = value
        self.get = value.get

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> JsonValue:
        return self._values[key]

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._values[key] if default is None else self._values.get(key, default)
        if not isinstance(value, int | float | str):
            raise TypeError(f"{key} is {value!r}, not an integer")
        return int(value)

    def sequence(self, key: str) -> list[JsonValue]:
        value = self._values[key]
        if not isinstance(value, list):
            raise TypeError(f"{key} is {value!r}, not a list")
        return value


def _checked(name: str, decode: Callable[[JsonValue], Encoding], entry: JsonValue) -> Encoding:
    try:
        return decode(entry)
    except (KeyError, TypeError, ValueError, IndexError, StopIteration) as error:
        missing = isinstance(error, KeyError)
        raise QuantizationError(
            f"its encoding has no {error.args[0]}" if missing else f"its encoding is not valid: {error}",
            where=name,
            remedy="export the encodings again, in AIMET's version 1.0.0",
        ) from error


def _name(entry: JsonValue) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise _unreadable("an encoding has no name")
    return name


def _unreadable(what: str) -> QuantizationError:
    return QuantizationError(
        f"not a valid encodings file: {what}",
        remedy="use a file of AIMET's version 0.6.1, 1.0.0 or 2.0.0",
    )
