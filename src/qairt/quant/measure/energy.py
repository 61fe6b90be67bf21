"""How much each input of a linear matters: its share of a token's energy, averaged over the calibration text.

With inputs x, the squared error that a weight error e causes in the output is (x·e)^2, about sum_i x_i^2 e_i^2. Every
token has the same weight whatever its norm, so that the first token, where models have huge values, does not dominate.
"""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

from qairt.model.names import name_of_expert, split_expert
from qairt.quant.structure import Structure

SMALLEST_SHARE = 1e-3
"""Of the mean: an input that the calibration text never uses still counts a little."""


class InputEnergy:
    """Sums over tokens for the linears' inputs. `tap` may be called from any thread."""

    def __init__(self, structure: Structure) -> None:
        self._inputs = {linear.weight: linear.input for linear in structure.linears}
        self._wanted = set(self._inputs.values())
        self._sums: dict[str, list[Tensor]] = {}
        self._lock = Lock()

    def tap(self, name: str, value: Tensor) -> None:
        if split_expert(name)[0] not in self._wanted:
            return
        energy = value.flatten(0, -2).square()
        share = (energy / energy.sum(1, keepdim=True).clamp(min=torch.finfo(energy.dtype).tiny)).sum(0)
        with self._lock:
            self._sums.setdefault(name, []).append(share)

    def of(self, weight: str) -> Tensor | None:
        """Shares of the inputs of `weight` [in], mean 1; all 1 if they are always zero. None for an expert that no
        token was given to."""
        weight, expert = split_expert(weight)
        name = self._inputs[weight]
        if expert is not None:
            name = name_of_expert(name, expert)
        if name not in self._sums:
            return None
        # Sorted, because a sum of floats depends on the order in which threads finish.
        total = torch.stack(self._sums[name]).double().sort(0).values.sum(0)
        mean = total.mean()
        if not float(mean):
            return torch.ones_like(total, dtype=torch.float32)
        return (total / mean).clamp(min=SMALLEST_SHARE).float()

    def forget(self) -> None:
        """Drop the sums: the block is done."""
        self._sums.clear()
