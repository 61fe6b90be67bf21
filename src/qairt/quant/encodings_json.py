"""AIMET's encoding files.

1. 0.6.1: name -> list of `{bitwidth, dtype, is_symmetric, min, max, offset, scale}`, one per channel. It has no
   blocks: an LPBQ weight is written as the 8-bit per-channel grid it decompresses to, which holds the same values.
2. 1.0.0: lists of `{name, enc_type, dtype, bw, is_sym, scale, offset, …}`. `per_block_int_scale` is flat, all blocks
   of the first output channel, then of the second. An LPBQ offset is that of `bw`, the decompressed bitwidth.
3. 2.0.0 (read only): `{name, output_dtype, y_scale, y_zero_point, axis, block_size, …}`, signed with zero point 0.
4. 0.6.1 and 1.0.0 do not say which axis holds the channels. It is 1, as in a MatMul weight [in, out]; 1.0.0 written
   here says `axis` where it is another one.

Scales are written with the fewest digits that give the same float32 back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np

from qairt.errors import QuantizationError
from qairt.quant.encodings import BlockScales, Encoding, Encodings, Floats, Integers

VERSIONS = ("0.6.1", "1.0.0")
CHANNEL_AXIS = 1


def write_encodings(encodings: Encodings, version: str = "1.0.0") -> str:
    """The file's text; the same bytes for the same encodings.

    Raises:
        ValueError: `version` is not one of `VERSIONS`.
    """
    if version not in VERSIONS:
        raise ValueError(f"encodings are written in version {' or '.join(VERSIONS)}, not {version}")
    return "".join(_pieces(encodings, version))


def _pieces(encodings: Encodings, version: str) -> Iterator[str]:
    """The text, one tensor after the other: all at once `json` takes 100 bytes for each integer of a block."""
    named = version == "0.6.1"
    yield f'{{"version":"{version}","excluded_layers":[]'
    for key, group in (("activation_encodings", encodings.activations), ("param_encodings", encodings.params)):
        yield f',"{key}":{"{" if named else "["}'
        for place, (name, encoding) in enumerate(group.items()):
            yield "," * bool(place)
            yield f"{_text(name)}:{_text(_entries_061(encoding))}" if named else _text(_entry_100(name, encoding))
        yield "}" if named else "]"
    yield "}\n"


def _text(value: Any) -> str:
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
        raise QuantizationError(f"an encodings file is JSON, this is not: {error}") from error
    if not isinstance(document, dict):
        raise _unreadable(f"a mapping is expected at the top, not a {type(document).__name__}")
    # Files of version 0.6.1 exist that do not say so.
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
                raise _unreadable(f"{key} of version 0.6.1 is a mapping of names")
            groups.append({name: _checked(name, _decode_061, entries) for name, entries in group.items()})
        else:
            if not isinstance(group, list):
                raise _unreadable(f"{key} of version 1.0.0 is a list")
            groups.append({_name(entry): _checked(_name(entry), _decode_100, entry) for entry in group})
    return Encodings(*groups)


# Version 0.6.1


def _entries_061(encoding: Encoding) -> list[dict[str, Any]]:
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


def _decode_061(entries: Any) -> Encoding:
    first = entries[0]
    bitwidth = int(first["bitwidth"])
    _require_integers(first["dtype"])
    symmetric = str(first["is_symmetric"]) == "True"
    scale, offset = _arrays([entry["scale"] for entry in entries], [entry["offset"] for entry in entries])
    return Encoding(bitwidth, symmetric, scale, offset, CHANNEL_AXIS if len(scale) > 1 else None)


# Version 1.0.0


def _entry_100(name: str, encoding: Encoding) -> dict[str, Any]:
    bitwidth, offset = _decompressed(encoding)
    kind = "LPBQ" if encoding.blocks else "PER_TENSOR" if encoding.axis is None else "PER_CHANNEL"
    entry: dict[str, Any] = {
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
    if encoding.axis not in (None, CHANNEL_AXIS):
        entry["axis"] = encoding.axis
    return entry


def _decode_100(entry: Any) -> Encoding:
    kind = entry["enc_type"]
    _require_integers(entry["dtype"])
    scale, offset = _arrays(entry["scale"], entry["offset"])
    bitwidth, symmetric = int(entry["bw"]), bool(entry["is_sym"])
    if kind == "PER_TENSOR":
        return Encoding(bitwidth, symmetric, scale, offset)
    axis = int(entry.get("axis", CHANNEL_AXIS))
    if kind == "PER_CHANNEL":
        return Encoding(bitwidth, symmetric, scale, offset, axis)
    if kind == "LPBQ":
        blocks = BlockScales(
            int(entry["block_size"]),
            _int_scale(np.array(entry["per_block_int_scale"]).reshape(len(scale), -1).T),
            bitwidth,
        )
        return _lpbq(int(entry["compressed_bw"]), scale, axis, blocks)
    raise ValueError(f"enc_type {kind} has no counterpart on the NPU; use PER_TENSOR, PER_CHANNEL or LPBQ")


# Version 2.0.0


def _read_200(document: dict[str, Any], initializers: Collection[str] | None) -> Encodings:
    if not isinstance(document.get("encodings"), list):
        raise _unreadable("version 2.0.0 has a list of encodings")
    known = set(initializers) if initializers is not None else None
    result = Encodings()
    for entry in document["encodings"]:
        name = _name(entry)
        is_weight = name.endswith((".weight", ".bias")) if known is None else name in known
        (result.params if is_weight else result.activations)[name] = _checked(name, _decode_200, entry)
    return result


def _decode_200(entry: Any) -> Encoding:
    dtype = str(entry["output_dtype"])
    kind, bits = dtype.rstrip("0123456789"), dtype.lstrip("uint")
    if kind not in ("int", "uint") or not bits:
        raise ValueError(f"output_dtype {dtype} is not an integer type")
    bitwidth, symmetric = int(bits), kind == "int"
    if "per_channel_float_scale" in entry:
        scale = np.array(entry["per_channel_float_scale"], np.float32).reshape(-1)
        per_block = np.array(entry["per_block_int_scale"])
        channels = next(place for place, size in enumerate(per_block.shape) if size == len(scale))
        blocks = BlockScales(int(entry["block_size"]), _int_scale(per_block if channels == 1 else per_block.T))
        return _lpbq(bitwidth, scale, CHANNEL_AXIS, blocks)
    if entry.get("block_size"):
        raise ValueError("block scales without per_channel_float_scale have no counterpart on the NPU; use LPBQ")
    scale = np.array(entry["y_scale"], np.float32)
    points = np.array(entry.get("y_zero_point") or 0, np.int64)
    middle = (1 << bitwidth - 1) if symmetric else 0
    offset = np.broadcast_to(-(points + middle), scale.shape).reshape(-1).copy()
    if symmetric and points.any():
        symmetric = False
    return Encoding(bitwidth, symmetric, scale.reshape(-1), offset, int(entry["axis"]) if scale.ndim else None)


# Shared


def _decompressed(encoding: Encoding) -> tuple[int, Integers]:
    """Bitwidth and offsets as AIMET writes them: those of an LPBQ weight are what it decompresses to."""
    if encoding.blocks is None:
        return encoding.bitwidth, encoding.offset
    bitwidth = encoding.blocks.decompressed_bitwidth
    return bitwidth, np.full(len(encoding.scale), -(1 << bitwidth - 1), np.int64)


def _lpbq(bitwidth: int, scale: Floats, axis: int, blocks: BlockScales) -> Encoding:
    return Encoding(bitwidth, True, scale, np.full(len(scale), -(1 << bitwidth - 1), np.int64), axis, blocks)


def _int_scale(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if values.min() < 1 or values.max() > 255:
        raise ValueError("per_block_int_scale must be integers from 1")
    return np.ascontiguousarray(values, np.uint8)


def _arrays(scales: Iterable[float], offsets: Iterable[int]) -> tuple[Floats, Integers]:
    scale, offset = np.array(scales, np.float32), np.array(offsets, np.int64)
    if len(scale) != len(offset) or not len(scale):
        raise ValueError(f"{len(scale)} scales and {len(offset)} offsets")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError("a scale is not a positive number")
    return scale, offset


def _numbers(values: Floats) -> list[float]:
    """Each as the float64 with the fewest digits that becomes the same float32."""
    return [float(str(value)) for value in values]


def _require_integers(dtype: Any) -> None:
    if str(dtype).lower() != "int":
        raise ValueError(f"dtype {dtype} cannot be put on an integer grid")


def _checked(name: str, decode: Any, entry: Any) -> Encoding:
    try:
        encoding: Encoding = decode(entry)
    except (KeyError, TypeError, ValueError, IndexError, StopIteration) as error:
        missing = isinstance(error, KeyError)
        raise QuantizationError(
            f"its encoding has no {error.args[0]}" if missing else f"its encoding cannot be used: {error}",
            where=name,
            remedy="export the encodings again, in AIMET's version 1.0.0",
        ) from error
    return encoding


def _name(entry: Any) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _unreadable("an encoding has no name")
    return str(entry["name"])


def _unreadable(what: str) -> QuantizationError:
    return QuantizationError(
        f"this is not an encodings file that can be read: {what}",
        remedy="give a file of AIMET's version 0.6.1, 1.0.0 or 2.0.0",
    )
