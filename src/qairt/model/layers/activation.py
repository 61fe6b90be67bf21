"""Activation functions."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.ops import BlockOps

T = TypeVar("T")


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
