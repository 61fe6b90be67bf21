"""The smallest and largest value of every tensor over the calibration text."""

from __future__ import annotations

from math import isfinite
from threading import Lock

import torch
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.structure import Structure

WORTH_A_LOOK = 30.0
"""Scores that spread less than this are masked by any floor in use."""


class Ranges:
    """Running ranges, one for all tensors that share an encoding. `tap` is given to the reference decoder, and may
    be called from several threads."""

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        given = structure.moved | structure.unit | set(structure.masked)
        self._measured = {name: structure.tied(name) for name in structure.tensors if name not in given}
        self._seen: dict[str, tuple[float, float]] = {}
        self._scores = set(structure.masked.values())
        self.excess = 0.0
        """The most by which a score that may not be seen is larger than all those that may. What masks it must be far
        below."""
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
        if name in self._scores and high - low > WORTH_A_LOOK:
            excess = _excess(value)
            with self._lock:
                self.excess = max(self.excess, excess)

    def of(self, name: str) -> tuple[float, float]:
        """The range of `name`, 0 included.

        Raises:
            KeyError: it was not seen.
        """
        return self._seen[self._structure.tied(name)]


def _excess(scores: Tensor) -> float:
    """scores [KV, G, new, past + new]; a token sees the past, itself and what came before it."""
    new = scores.shape[-2]
    past = scores.shape[-1] - new
    unseen = torch.ones(new, past + new, dtype=torch.bool).triu(past + 1)
    largest_seen = scores.masked_fill(unseen, -torch.inf).amax(-1)
    largest_unseen = scores.masked_fill(~unseen, -torch.inf).amax(-1)
    return float((largest_unseen - largest_seen).max())


def _place(name: str) -> str:
    if name.startswith("layers."):
        return f"decoder layer {name.split('.')[1]}"
    if name.startswith("hidden_"):
        layer = int(name.removeprefix("hidden_"))
        return f"decoder layer {layer - 1}" if layer else "the embedding"
    return "the head"
