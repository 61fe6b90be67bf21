"""Grouped-query attention over a KV cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

from qairt.model.config import DecoderConfig
from qairt.model.inputs import layer_inputs
from qairt.model.layers.linear import linear
from qairt.model.layers.rotary import rotate
from qairt.model.names import CAP, present_names
from qairt.model.ops import BlockOps

T = TypeVar("T")


def attention(
    ops: BlockOps[T], config: DecoderConfig, layer: int, x: T, positions: Mapping[str, T], past: Sequence[T]
) -> tuple[T, T, T]:
    """x [1, AR, hidden] -> what attention adds to the residual stream [1, AR, hidden], key, value."""
    # No name holds what no later line needs: calibration computes each line for many chunks at once.
    kv, groups, dim = config.num_kv_heads, config.num_heads // config.num_kv_heads, config.head_dim
    w = f"model.layers.{layer}.self_attn."
    t = f"layers.{layer}.attn."
    key_out, value_out = present_names(layer)
    names = layer_inputs(config, layer)

    q = linear(ops, config.qkv_bias, x, w + "q_proj", out=t + "q")
    k = linear(ops, config.qkv_bias, x, w + "k_proj", out=t + "k")
    v = linear(ops, config.qkv_bias, x, w + "v_proj", out=t + "v")
    if config.qk_norm and config.qk_norm_place == "whole":
        q = ops.rms_norm(q, w + "q_norm.weight", config.rms_norm_eps, out=t + "q.norm")
        k = ops.rms_norm(k, w + "k_norm.weight", config.rms_norm_eps, out=t + "k.norm")
    q = _heads_first(ops, q, kv, groups, dim, out=t + "q")
    k = _heads_first(ops, k, kv, 1, dim, out=t + "k")
    if config.qk_norm and config.qk_norm_place == "heads":
        q = ops.rms_norm(q, w + "q_norm.weight", config.rms_norm_eps, out=t + "q.norm")
        k = ops.rms_norm(k, w + "k_norm.weight", config.rms_norm_eps, out=t + "k.norm")
    if names.rotary is not None:
        cos, sin = (positions[name] for name in names.rotary)
        q = rotate(ops, q, cos, sin, rotated=config.rotated, dim=dim, out=t + "q")
        k = rotate(ops, k, cos, sin, rotated=config.rotated, dim=dim, out=t + "k")
    if config.qk_norm and config.qk_norm_place == "after_rotary":
        q = ops.rms_norm(q, w + "q_norm.weight", config.rms_norm_eps, out=t + "q.norm")
        k = ops.rms_norm(k, w + "k_norm.weight", config.rms_norm_eps, out=t + "k.norm")
    key = ops.transpose(k, (0, 1, 3, 2), out=key_out)
    value = ops.transpose(ops.reshape(v, (-1, kv, 1, dim), out=t + "v.heads"), (1, 2, 0, 3), out=value_out)

    keys, values = key, value
    if past:
        keys = ops.concat((past[0], key), axis=3, out=t + "keys")
        values = ops.concat((past[1], value), axis=2, out=t + "values")
    context = ops.attend(partial(_attended, config, layer), q, keys, values, positions[names.mask])
    context = ops.transpose(context, (2, 0, 1, 3), out=t + "context.tokens")
    context = ops.reshape(context, (1, -1, kv * groups * dim), out=t + "context.merged")
    return linear(ops, config.output_bias, context, w + "o_proj", out=t + "o"), key, value


def _attended(config: DecoderConfig, layer: int, ops: BlockOps[T], q: T, keys: T, values: T, mask: T) -> T:
    """q [KV, G, AR, dim], keys [KV, 1, dim, CL], values [KV, 1, CL, dim], mask [1, 1, AR, CL] -> [KV, G, AR, dim]."""
    w, t = f"model.layers.{layer}.self_attn.", f"layers.{layer}.attn."
    scores = ops.matmul(q, keys, out=t + "scores")
    if config.score_cap is not None:  # its divisor is in the query's weights
        scores = ops.scale(ops.tanh(scores, out=t + "tanh"), w + CAP, out=t + "capped")
    masked = ops.add(scores, mask, out=t + "masked")
    if config.sinks:
        probs = ops.softmax_beside(masked, mask, w + "sinks", out=t + "probs")
    else:
        probs = ops.softmax(masked, out=t + "probs")
    return ops.matmul(probs, values, out=t + "context")


def _heads_first(ops: BlockOps[T], x: T, kv: int, groups: int, dim: int, *, out: str) -> T:
    """[1, AR, kv * groups * dim] -> [kv, groups, AR, dim]."""
    split = ops.reshape(x, (-1, kv, groups, dim), out=out + ".heads")
    return ops.transpose(split, (1, 2, 0, 3), out=out + ".heads_first")
