"""A mixture of experts: a router gives each token to a few of many gated MLPs.

Every graph computes all experts, as one MLP that is as wide as all of them together, whose activations are multiplied
by the experts' weights before the last linear: the sum over experts is then a part of that linear. What is not chosen
is multiplied by 0. The NPU cannot skip it, but runs one wide MLP faster than many narrow ones.

The choice is made by index, since the HTP's TopK (QNN 2.51) gives exact indices but inexact values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from qairt.model.config import DecoderConfig, Experts
from qairt.model.layers.activation import activated
from qairt.model.ops import BlockOps

T = TypeVar("T")


@dataclass(frozen=True)
class _Layer:
    config: DecoderConfig
    experts: Experts
    weights: str
    """What the names of its weights begin with."""
    tensors: str


def experts(ops: BlockOps[T], config: DecoderConfig, kinds: Experts, layer: int, x: T) -> T:
    """x [1, AR, hidden] -> what the experts add to the residual stream [1, AR, hidden]."""
    w, t = f"model.layers.{layer}.mlp.", f"layers.{layer}.mlp."
    own = _Layer(config, kinds, w, t)
    logits = ops.linear(x, w + "router.weight", w + "router.bias" if kinds.bias else None, out=t + "router")
    chosen = ops.largest(
        logits, kinds.chosen, kinds.count, w + "router.chosen", w + "router.others", out=t + "router.chosen"
    )
    if kinds.weights_add_up:
        weights = ops.softmax(ops.add(logits, chosen, out=t + "router.raised"), out=t + "router.probs")
    else:
        weights = ops.mul(ops.softmax(logits, out=t + "router.probs"), chosen, out=t + "router.weights")

    def mlp(ops: BlockOps[T], x: T, weights: T, infix: str, count: int) -> T:
        return _gated(ops, own, x, weights, infix, count)

    routing, down = (chosen, weights), w + "experts.down_proj.weight"
    if not kinds.bias:
        return ops.experts(x, routing, kinds.count, mlp, down, out=t + "down")
    product = ops.experts(x, routing, kinds.count, mlp, down, out=t + "down.products")
    return ops.add(product, ops.linear(weights, w + "expert_bias.weight", None, out=t + "down.biases"), out=t + "down")


def _gated(ops: BlockOps[T], layer: _Layer, x: T, weights: T, infix: str, count: int) -> T:
    """See `qairt.model.ops.ExpertMlp`."""
    kinds, constants = layer.experts, layer.weights
    w, t = f"{layer.weights}experts.{infix}", f"{layer.tensors}experts.{infix}"

    def linear(module: str, out: str) -> T:
        return ops.linear(x, f"{w}{module}.weight", f"{w}{module}.bias" if kinds.bias else None, out=t + out)

    gate, up = linear("gate_proj", "gate"), linear("up_proj", "up")
    if kinds.clamped is None:
        gate = activated(ops, layer.config, gate, t)
    else:  # the 1 that is added to `up` is in its bias
        gate = ops.minimum(gate, constants + "gate_limit", out=t + "gate.clamped")
        up = ops.minimum(up, constants + "up_limit", out=t + "up.clamped_above")
        up = ops.maximum(up, constants + "up_floor", out=t + "up.clamped")
        slope = ops.sigmoid(ops.scale(gate, constants + "gate_slope", out=t + "gate.scaled"), out=t + "sigmoid")
        gate = ops.mul(gate, slope, out=t + "glu")
    product = ops.mul(gate, up, out=t + "product")
    apart = ops.reshape(product, (1, -1, count, kinds.width), out=t + "product.experts")
    each = ops.reshape(weights, (1, -1, count, 1), out=t + "weights")
    weighted = ops.mul(apart, each, out=t + "weighted")
    return ops.reshape(weighted, (1, -1, count * kinds.width), out=t + "weighted.merged")
