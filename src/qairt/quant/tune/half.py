"""Linears computed in bfloat16, for gradients and what they are compared with: half of the weights' memory, and on
processors that have it half of the products' time. Its error, 1 part in 500 of each value, is a hundredth of that of
4-bit weights.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.model.torch_ops import TorchOps
from qairt.quant.bfloat16 import has_bfloat16
from qairt.quant.precisions import linear_shapes


def half_where_faster(parameters: Parameters, device: str) -> TorchOps:
    """The operations of a decoder, its layers' linears in bfloat16 where the device is faster with it."""
    if not has_bfloat16(device):
        return TorchOps(parameters, device=device)
    return HalfOps(parameters, device, linear_shapes(parameters.config))


class HalfOps(TorchOps):
    """`TorchOps` that holds some weights in bfloat16."""

    def __init__(self, parameters: Parameters, device: str, half: Collection[str]) -> None:
        """
        Args:
            half: names of linears.
        """
        super().__init__(parameters, device=device)
        self._half = half

    def _load(self, name: str) -> Tensor:
        value = super()._load(name)
        return value.to(torch.bfloat16) if name in self._half else value
