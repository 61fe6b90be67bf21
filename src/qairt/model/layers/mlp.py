"""The MLP of a decoder layer, up to its last linear."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.layers.activation import activated
from qairt.model.layers.experts import experts
from qairt.model.layers.linear import linear
from qairt.model.ops import BlockOps

T = TypeVar("T")


def mlp(ops: BlockOps[T], config: DecoderConfig, layer: int, x: T) -> T:
    """x [1, AR, hidden] -> what the MLP adds to the residual stream [1, AR, hidden]."""
    if config.experts is not None:
        return experts(ops, config, config.experts, layer, x)
    w, t = f"model.layers.{layer}.mlp.", f"layers.{layer}.mlp."
    if config.gated_mlp:
        gate = linear(ops, config.mlp_bias, x, w + "gate_proj", out=t + "gate")
        up = linear(ops, config.mlp_bias, x, w + "up_proj", out=t + "up")
        product = ops.mul(activated(ops, config, gate, t), up, out=t + "product")
    else:
        up = linear(ops, config.mlp_bias, x, w + "up_proj", out=t + "up")
        product = activated(ops, config, up, t)
    return linear(ops, config.mlp_bias, product, w + "down_proj", out=t + "down")
