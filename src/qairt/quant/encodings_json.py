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
from collections.abc import Callable, Collection, Iterator
from mmap import ACCESS_READ, mmap
from os import fstat
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from pydantic import JsonValue

from qairt.errors import QuantizationError
from qairt.files import open_regular, parse_json, read_text
from qairt.printable import as_written
from qairt.quant.encoding_entries import CHANNEL_AXIS, EntryError, decode_061, decode_100, decode_200
from qairt.quant.encodings import Encoding, Encodings, Floats, Integers

VERSIONS = ("0.6.1", "1.0.0")
GROUPS = ("activation_encodings", "param_encodings")


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
        ValueError: `version` is not one of `VERSIONS`, or it is 0.6.1 and cannot say these encodings.
    """
    if version not in VERSIONS:
        raise ValueError(f"encodings are written in version {' or '.join(VERSIONS)}, not {version}")
    if version == "0.6.1" and not fits_version_061(encodings):
        raise ValueError("version 0.6.1 holds neither blocks nor channels of another axis")
    return "".join(_text_of_tensors(encodings, version))


def fits_version_061(encodings: Encodings) -> bool:
    """Whether version 0.6.1 can say these encodings: it has no blocks, and one channel axis."""
    every = [*encodings.activations.values(), *encodings.params.values()]
    return all(encoding.blocks is None and encoding.axis in (None, CHANNEL_AXIS) for encoding in every)


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


# Version 0.6.1


def _entries_061(encoding: Encoding) -> list[ChannelEntry]:
    bitwidth, offset, scale = encoding.bitwidth, encoding.offset, encoding.scale
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


# Shared


def _decompressed(encoding: Encoding) -> tuple[int, Integers]:
    """Bitwidth and offsets as AIMET writes them: for an LPBQ weight those of the grid that it decompresses to."""
    if encoding.blocks is None:
        return encoding.bitwidth, encoding.offset
    bitwidth = encoding.blocks.decompressed_bitwidth
    return bitwidth, np.full(len(encoding.scale), -(1 << bitwidth - 1), np.int64)


def _numbers(values: Floats) -> list[float]:
    """Each as the float64 with the fewest digits that becomes the same float32."""
    return [float(str(value)) for value in values]


# Reading


def read_encodings(text: str | bytes, *, initializers: Collection[str] | None = None, file: str = "") -> Encodings:
    """Read version 0.6.1, 1.0.0 or 2.0.0.

    Args:
        text: the file's content.
        initializers: names of the graph's weights, to tell them from activations in 2.0.0 (which does not); without
            them, names that end in `.weight` or `.bias` are taken for weights.
        file: how errors name the file.

    Raises:
        QuantizationError: it is not such a file, a tensor stands in it twice, or it holds an encoding that no NPU graph
            can have; names the tensor and its place in the file.
    """
    return _Reading(file).read(text, initializers)


def read_encodings_of(path: Path, names: Collection[str]) -> Encodings:
    """Those of some tensors, as `read_encodings(…).subset(names)`: in what `write_encodings` wrote in version 1.0.0,
    the rest is passed over. A large model's file has hundreds of megabytes, and takes ten times as much when it is
    parsed.

    Raises:
        QuantizationError: as `read_encodings`.
    """
    with open_regular(path) as file:
        if not fstat(file.fileno()).st_size:
            return read_encodings("", file=str(path))
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            text = _only(data, names)
    return read_encodings(read_text(path) if text is None else text, file=str(path)).subset(names)


_BEGINNING = b'{"version":"1.0.0","excluded_layers":[],"activation_encodings":['
_BETWEEN = b'],"param_encodings":['
_ENTRY = b'{"name":"'


def _only(data: mmap, names: Collection[str]) -> bytes | None:
    """The file with the entries of `names` alone; None if it may have been written by another program.

    In JSON a quotation mark within a string has a backslash before it, so that what is looked for is in no name.
    """
    between = data.find(_BETWEEN)
    if data[: len(_BEGINNING)] != _BEGINNING or between < 0:
        return None
    wanted = {name.encode() for name in names}
    kept: tuple[list[bytes], list[bytes]] = [], []
    at = data.find(_ENTRY)
    while at >= 0:
        end = data.find(b'"', at + len(_ENTRY))
        name = data[at + len(_ENTRY) : end]
        if b"\\" in name or b"}" in name:
            return None
        if name in wanted:
            end = data.find(b"}", end) + 1
            kept[at > between].append(data[at:end])
        at = data.find(_ENTRY, end)
    activations, params = (b",".join(entries) for entries in kept)
    return _BEGINNING + activations + _BETWEEN + params + b"]}"


class _Reading:
    """One file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[str, str] = {}

    def read(self, text: str | bytes, initializers: Collection[str] | None) -> Encodings:
        try:
            document = parse_json(text, self._mapping)
        except ValueError as error:
            raise self._unreadable(f"it is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise self._unreadable("its top level is not a mapping")
        # Some files of version 0.6.1 do not state their version.
        version = document.get("version", "0.6.1")
        if version == "2.0.0":
            return self._read_200(document, initializers)
        if version not in VERSIONS:
            raise self._unreadable(f"its version is {as_written(version)}")
        activations, params = (self._read_group(document, key, version) for key in GROUPS)
        return Encodings(activations, params)

    def _read_group(self, document: dict[str, JsonValue], key: str, version: str) -> dict[str, Encoding]:
        if key not in document:
            raise self._unreadable(f"it has no {key}")
        group = document[key]
        if version == "0.6.1":
            if not isinstance(group, dict):
                raise self._unreadable(f"{key} must be a mapping in version 0.6.1")
            return {name: self._decoded(name, key, decode_061, entries) for name, entries in group.items()}
        if not isinstance(group, list):
            raise self._unreadable(f"{key} must be a list in version 1.0.0")
        return dict(self._named(entry, f"{key}[{place}]", decode_100) for place, entry in enumerate(group))

    def _read_200(self, document: dict[str, JsonValue], initializers: Collection[str] | None) -> Encodings:
        entries = document.get("encodings")
        if not isinstance(entries, list):
            raise self._unreadable("encodings must be a list in version 2.0.0")
        known = set(initializers) if initializers is not None else None
        result = Encodings()
        for place, entry in enumerate(entries):
            name, encoding = self._named(entry, f"encodings[{place}]", decode_200)
            is_weight = name.endswith((".weight", ".bias")) if known is None else name in known
            (result.params if is_weight else result.activations)[name] = encoding
        return result

    def _named(self, entry: JsonValue, place: str, decode: Callable[[JsonValue], Encoding]) -> tuple[str, Encoding]:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise self._unreadable(f"{place} has no name")
        return name, self._decoded(name, place, decode, entry)

    def _decoded(self, name: str, place: str, decode: Callable[[JsonValue], Encoding], entry: JsonValue) -> Encoding:
        if name in self.places:
            raise QuantizationError(
                f"it has two encodings, the other one in {self.places[name]}",
                where=self._where(name, place),
                remedy="keep the one that belongs to this graph",
            )
        self.places[name] = place
        try:
            return decode(entry)
        except EntryError as error:
            raise QuantizationError(error.what, where=self._where(name, place), remedy=error.remedy) from error

    def _mapping(self, pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        """JSON keeps the last of two values of a key; which of two encodings is meant cannot be known."""
        found: dict[str, JsonValue] = {}
        for key, value in pairs:
            if key in found:
                raise QuantizationError(
                    "it stands twice in one mapping",
                    where=f"{self.file}: {key}" if self.file else key,
                    remedy="keep the one that belongs to this graph",
                )
            found[key] = value
        return found

    def _where(self, name: str, place: str) -> str:
        return f"{self.file}: {place}, tensor {name}" if self.file else f"tensor {name} ({place})"

    def _unreadable(self, what: str) -> QuantizationError:
        return QuantizationError(
            f"not a valid encodings file: {what}",
            where=self.file or None,
            remedy="use a file of AIMET's version 0.6.1, 1.0.0 or 2.0.0",
        )
