"""Norms over the last axis."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.ops import BlockOps

T = TypeVar("T")


def norm(ops: BlockOps[T], config: DecoderConfig, x: T, module: str, *, out: str) -> T:
    """The model's kind of norm.

    LayerNorm is an RMSNorm of what differs from the mean: QNN 2.51 miscompiles `LayerNormalization` before a linear at
    16 rows, and this is more exact at any number.
    """
    if config.norms.kind == "layer":
        x = ops.sub(x, ops.mean(x, out=f"{out}.mean"), out=f"{out}.centered")
    if not config.norms.bias:
        return ops.rms_norm(x, f"{module}.weight", config.rms_norm_eps, out=out)
    normed = ops.rms_norm(x, f"{module}.weight", config.rms_norm_eps, out=f"{out}.scaled")
    return ops.shift(normed, f"{module}.bias", out=out)
