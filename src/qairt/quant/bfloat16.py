"""Whether products of activations and weights are faster in bfloat16, where that is exact enough."""

from __future__ import annotations

import torch


def has_bfloat16(device: str) -> bool:
    """The device multiplies bfloat16 faster than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(has_instructions) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def fastest_type(device: str) -> torch.dtype:
    """Of a product of activations and weights, where bfloat16 is exact enough."""
    return torch.bfloat16 if has_bfloat16(device) else torch.float32
