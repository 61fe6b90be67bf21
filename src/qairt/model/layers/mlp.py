"""The MLP of a decoder layer, up to its last linear."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.layers.attention import linear
from qairt.model.ops import BlockOps

T = TypeVar("T")


def mlp(ops: BlockOps[T], config: DecoderConfig, layer: int, x: T) -> T:
    """x [1, AR, hidden] -> what the MLP adds to the residual stream [1, AR, hidden]."""
    w, t = f"model.layers.{layer}.mlp.", f"layers.{layer}.mlp."
    if config.gated_mlp:
        gate = linear(ops, config.mlp_bias, x, w + "gate_proj", out=t + "gate")
        up = linear(ops, config.mlp_bias, x, w + "up_proj", out=t + "up")
        product = ops.mul(activated(ops, config, gate, t), up, out=t + "product")
    else:
        up = linear(ops, config.mlp_bias, x, w + "up_proj", out=t + "up")
        product = activated(ops, config, up, t)
    return linear(ops, config.mlp_bias, product, w + "down_proj", out=t + "down")


def activated(ops: BlockOps[T], config: DecoderConfig, x: T, t: str) -> T:
    """The model's activation; its tensors' names begin with `t`."""
    match config.activation:
        case "silu":
            return ops.mul(x, ops.sigmoid(x, out=t + "sigmoid"), out=t + "silu")
        case "gelu" | "gelu_tanh":
            return ops.gelu(x, by_tanh=config.activation == "gelu_tanh", out=t + "gelu")
        case "relu2":
            positive = ops.relu(x, out=t + "relu")
            return ops.mul(positive, positive, out=t + "relu2")
