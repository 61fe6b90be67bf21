"""One vector for a text: the head of an embedding model."""

from __future__ import annotations

from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.layout import DENSE, ONE, UNIT
from qairt.model.names import POOLED
from qairt.model.ops import BlockOps

T = TypeVar("T")

EPSILON = 1e-12


def pooled(ops: BlockOps[T], config: DecoderConfig, normed: T, key_mask: T) -> T:
    """normed [1, AR, hidden] -> [1, 1, values].

    Args:
        key_mask: [1, 1, 1, AR], 0 for a token and less than -1 for padding, on either side.
    """
    pooling = config.pooling
    assert pooling is not None
    steps = ["vector", *(f"dense.{index}" for index in range(len(pooling.dense)))]
    names = {step: f"pool.{step}" for step in steps}
    if not pooling.normalize:
        names[steps[-1]] = POOLED
    weights = ops.softmax(key_mask, out="pool.weights") if pooling.kind == "mean" else _last(ops, key_mask)
    vector = ops.average(normed, ops.reshape(weights, (1, -1, 1), out="pool.column"), out=names["vector"])
    for index, dense in enumerate(pooling.dense):
        module, out = DENSE.format(index), names[f"dense.{index}"]
        bias = f"{module}.bias" if dense.bias else None
        if dense.activation == "identity":
            vector = ops.linear(vector, f"{module}.weight", bias, out=out)
        else:
            vector = ops.tanh(ops.linear(vector, f"{module}.weight", bias, out=f"pool.linear.{index}"), out=out)
    return ops.rms_norm(vector, UNIT, EPSILON, out=POOLED) if pooling.normalize else vector


def _last(ops: BlockOps[T], key_mask: T) -> T:
    """1 for the last token, 0 for all others."""
    seen = ops.relu(ops.shift(key_mask, ONE, out="pool.shifted"), out="pool.seen")
    end = ops.tail(seen, -1, axis=3, out="pool.end")
    following = (ops.tail(seen, 1, axis=3, out="pool.rest"), ops.sub(end, end, out="pool.zero"))
    ended = ops.sub(seen, ops.concat(following, axis=3, out="pool.following"), out="pool.ended")
    return ops.relu(ended, out="pool.weights")
