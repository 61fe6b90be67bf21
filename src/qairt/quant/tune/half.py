"""Linears computed in bfloat16, for gradients: half of the weights' memory, and on processors that have it about a
third less time for a step. Its error, 1 part in 500 of each value, is a hundredth of that of 4-bit weights.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.model.torch_ops import TorchOps


def has_bfloat16(device: str) -> bool:
    """The device multiplies bfloat16 faster than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(has_instructions) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class HalfOps(TorchOps):
    """`TorchOps` that holds some weights in bfloat16; read them with `product`."""

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


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., in] @ weight [in, out] in the weight's precision; float32."""
    return (x.to(weight.dtype) @ weight).float()
