"""The fields of a GGUF header that belong to its architecture."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from qairt.errors import ModelError
from qairt.model.gguf.file import GgufArray, GgufHeader
from qairt.printable import as_written


class GgufFields:
    """Fields whose names begin with the architecture's; a list of equal values, one per layer, is that value. A layer
    without attention has 0 KV heads, which is left out."""

    def __init__(self, header: GgufHeader, prefix: str) -> None:
        self._header = header
        self._prefix = prefix

    def get(self, key: str) -> bool | int | float | str | None:
        """The value; None if there is none.

        Raises:
            ModelError: the layers have different ones.
        """
        name = self._prefix + key
        value = self._header.fields.get(name)
        if not isinstance(value, GgufArray):
            return value
        each = set(self._header.numbers(name)) - ({0} if key == "attention.head_count_kv" else set())
        if len(each) != 1:
            raise ModelError(
                f"{name} differs by layer, which is not supported",
                where=str(self._header.path),
                remedy="use a model whose layers have the same shape",
            )
        return each.pop()

    def by_layer(self, key: str) -> Sequence[int]:
        """A list with a whole number for each layer."""
        return [int(value) for value in self._header.numbers(self._prefix + key)]

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._number(key, default)
        if not isinstance(value, int):
            raise TypeError(f"{self._prefix}{key} is {as_written(value)}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._number(key, default)
        return _shortest(value) if isinstance(value, float) else value

    def windowed_layers(self, period: int) -> list[int]:
        """The layers with windowed attention: all but every so many-th.

        Args:
            period: the architecture's; the header may state another, or the kind of each layer.
        """
        layers, key = self.integer("block_count"), "attention.sliding_window_pattern"
        if isinstance(self._header.fields.get(self._prefix + key), GgufArray):
            each = self._header.numbers(self._prefix + key)
            if len(each) != layers:
                raise TypeError(f"{self._prefix}{key} has {len(each)} values for {layers} layers")
            return [layer for layer, windowed in enumerate(each) if windowed]
        period = self.integer(key, period)
        return [layer for layer in range(layers) if not period or (layer + 1) % period]

    def _number(self, key: str, default: float | None) -> float:
        value = self.get(key)
        value = default if value is None else value
        if value is None:
            raise ModelError(
                f"the GGUF header lacks {self._prefix}{key}",
                where=str(self._header.path),
                remedy="convert the model again with llama.cpp's convert_hf_to_gguf.py",
            )
        if not isinstance(value, int | float):
            raise TypeError(f"{self._prefix}{key} is {as_written(value)}")
        return value


def _shortest(value: float) -> float:
    """A float32 as it was written: 1e-05, not 9.999999747378752e-06."""
    for digits in range(6, 10):
        written = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", written))[0] == value:
            return written
    return value
