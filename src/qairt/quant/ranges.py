"""The smallest and largest value of every tensor over the calibration text."""

from __future__ import annotations

from math import isfinite
from threading import Lock

from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.structure import Structure


class Ranges:
    """Running ranges, one for all tensors that share an encoding. `tap` is given to the reference decoder, and may
    be called from several threads."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        given = structure.moved | structure.unit | set(structure.masked)
        self._measured = {name: structure.tied(name) for name in structure.tensors if name not in given}
        self._seen: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    def tap(self, name: str, value: Tensor) -> None:
        """Take a tensor's values into account.

        Raises:
            QuantizationError: NaN or infinity among them; names the tensor.
        """
        if name not in self._measured:
            return
        low, high = (float(extreme) for extreme in value.aminmax())
        if not (isfinite(low) and isfinite(high)):
            raise QuantizationError(
                f"the model computes {'NaN' if low != low or high != high else 'infinity'} in {_place(name)}",
                where=name,
                remedy="the checkpoint is damaged or its configuration wrong: `qairt generate --target torch` should "
                "give sensible text before it is quantized",
            )
        key = self._measured[name]
        with self._lock:
            before = self._seen.get(key, (0.0, 0.0))
            self._seen[key] = (min(low, before[0]), max(high, before[1]))

    def of(self, name: str) -> tuple[float, float]:
        """The range of `name`, 0 included.

        Raises:
            KeyError: it was not seen.
        """
        return self._seen[self._structure.tied(name)]


def _place(name: str) -> str:
    if name.startswith("layers."):
        return f"decoder layer {name.split('.')[1]}"
    if name.startswith("hidden_"):
        layer = int(name.removeprefix("hidden_"))
        return f"decoder layer {layer - 1}" if layer else "the embedding"
    return "the head"
