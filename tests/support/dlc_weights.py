"""Block-quantized weights read back out of a DLC by tensor name.

Its flatbuffers have no published schema; this is how QNN 2.51 lays a weight out:

    model.params        u64 offset, u64 length, u32 length, name: where the integers stand
    model.params.bin    one byte a weight, [in, out]; the 4-bit integer in its low half (what "expanded to 8 bits" is)
    model               u32 count, block scales uint8 [out, blocks]
                        u32 out, that many pointers to channels
                        channels: tables of i32, u32, u32 bits, float32 scale
                        u32 length, name

Padding, and descriptions of tables, may stand between; the first channel ends where the name begins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qairt.toolchain.qnn.dlc import read_entry

BITS_AT, SCALE_AT, CHANNEL_BYTES = 8, 12, 16
GAP = 64
"""Bytes of padding and descriptions at most."""


@dataclass
class StoredBlocks:
    integers: np.ndarray
    """[in, out], -8 … 7."""
    block_scale: np.ndarray
    """[in / block_size, out], 1 … 16."""
    scale: np.ndarray
    """[out], float32."""
    bits: set[int]
    """That integers times block scales have."""


class DlcWeights:
    def __init__(self, dlc: Path) -> None:
        self._model, self._places, self._bytes = (
            read_entry(dlc, name) for name in ("model", "model.params", "model.params.bin")
        )

    def blocks(self, name: str, shape: tuple[int, int], block_size: int) -> StoredBlocks:
        """
        Raises:
            LookupError: no weight of this name and shape is laid out so.
        """
        inputs, outputs = shape
        stored = np.frombuffer(self._integers(name, inputs * outputs), np.int8).reshape(shape)
        if stored.min() < 0 or stored.max() > 15:
            raise LookupError(f"{name}: its integers do not have 4 bits")
        vector, channels = self._channels(name, outputs)
        block_scale = self._block_scales(vector, inputs // block_size * outputs, name).reshape(outputs, -1).T
        scale = [self._read("<f", place + SCALE_AT) for place in channels]
        bits = {self._read("<I", place + BITS_AT) for place in channels}
        return StoredBlocks((stored ^ 8) - 8, block_scale, np.asarray(scale, np.float32), bits)

    def _integers(self, name: str, length: int) -> bytes:
        for place in _strings(self._places, name):
            for before in range(20, GAP, 4):
                offset, found = struct.unpack_from("<QQ", self._places, place - before)
                if found == length:
                    return self._bytes[offset : offset + length]
        raise LookupError(f"{name}: no {length} bytes of this name")

    def _channels(self, name: str, outputs: int) -> tuple[int, list[int]]:
        """Where the pointers to a weight's channels begin, and where the channels do."""
        for place in _strings(self._model, name):
            first = place - 4 - CHANNEL_BYTES
            furthest = first - (4 + CHANNEL_BYTES) * outputs - GAP
            for vector in range(first, max(furthest, 0), -1):
                if self._read("<I", vector) == outputs and vector + 4 + self._read("<I", vector + 4) == first:
                    pointers = range(vector + 4, vector + 4 + 4 * outputs, 4)
                    return vector, [pointer + self._read("<I", pointer) for pointer in pointers]
        raise LookupError(f"{name}: no scales of {outputs} channels stand before it")

    def _block_scales(self, vector: int, count: int, name: str) -> np.ndarray:
        for start in range(vector - count, vector - count - GAP, -1):
            if self._read("<I", start - 4) == count:
                return np.frombuffer(self._model, np.uint8, count, start)
        raise LookupError(f"{name}: no {count} block scales stand before it")

    def _read(self, kind: str, place: int) -> int:
        value: int = struct.unpack_from(kind, self._model, place)[0]
        return value


def _strings(content: bytes, name: str) -> Iterator[int]:
    """Where the characters of a string begin."""
    wanted = struct.pack("<I", len(name)) + name.encode() + b"\0"
    place = content.find(wanted)
    while place >= 0:
        yield place + 4
        place = content.find(wanted, place + 1)
