"""What of a model's arithmetic is done once, in its weights, instead of in its graph; exact but for rounding.

1. Constant factors: of scores (1/sqrt(head_dim), or the model's own; divided by the cap of capped scores) in q_proj, or
   in q_norm where there is one; of embeddings in the table; of what attention and MLP add to the residual stream in
   their last linear or in the norm behind it; of logits in lm_head.
2. A norm whose stored weight is what its scale differs from 1 by gets 1 added; so does the bias of `up_proj` where 1 is
   added to its output (`ClampedGate`).
3. Queries and keys of a model that rotates neighbouring values (2i, 2i + 1) are reordered to (i, i + D/2), which is
   what the graph rotates. Their products, the scores, do not depend on the order.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from qairt.model.config import DecoderConfig
from qairt.model.layout import EMBEDDING, LM_HEAD

Floats = NDArray[np.float32]


def factor_of(config: DecoderConfig, name: str) -> float:
    """What a parameter is multiplied by."""
    if name == EMBEDDING:
        return config.embedding_multiplier
    if name == LM_HEAD:
        return config.logits_multiplier / (config.logits_cap or 1.0)
    layer_name = _in_layer(name)
    module = layer_name.rpartition(".")[0]
    if module == ("self_attn.q_norm" if config.qk_norm else "self_attn.q_proj"):
        scale = 1 / sqrt(config.head_dim) if config.attention_scale is None else config.attention_scale
        return scale / (config.score_cap or 1.0)
    if config.residual_multiplier != 1:
        last = ("mlp.down_proj", "mlp.experts.down_proj", "mlp.expert_bias")
        after_mlp = last if config.norms.after_mlp is None else (config.norms.after_mlp,)
        if module in (config.norms.after_attention or "self_attn.o_proj", *after_mlp):
            return config.residual_multiplier
    return 1.0


def in_graph_form(config: DecoderConfig, name: str, values: Floats) -> Floats:
    """Rules 2 and 3 on a stored weight, linears [out, in]."""
    if config.norms.plus_one and _is_norm(config, name):
        values = values + np.float32(1)
    if config.experts is not None and config.experts.clamped and name.endswith(".mlp.experts.up_proj.bias"):
        values = values + np.float32(1)
    order = output_order(config, name)
    return values if order is None else values[order]


def output_order(config: DecoderConfig, name: str) -> NDArray[np.intp] | None:
    """Rule 3: for each row of a stored query or key weight in the graph, its place in the file; None if unchanged.

    It is that of the outputs of the linear, of its bias, and of an adapter's B.
    """
    module = _in_layer(name).rpartition(".")[0].removeprefix("self_attn.")
    if not config.rotary_interleaved or module not in ("q_proj", "k_proj", "q_norm", "k_norm"):
        return None
    rotated, dim = config.rotated, config.head_dim
    of_head = np.concatenate((np.arange(0, rotated, 2), np.arange(1, rotated, 2), np.arange(rotated, dim)))
    heads = config.num_heads if module.startswith("q") else config.num_kv_heads
    if module.endswith("norm") and config.qk_norm_place != "whole":
        heads = 1
    return (np.arange(heads)[:, None] * dim + of_head).reshape(-1)


def _is_norm(config: DecoderConfig, name: str) -> bool:
    if name == "model.norm.weight":
        return True
    module, _, kind = _in_layer(name).rpartition(".")
    return kind == "weight" and module in (*config.norms.places, "self_attn.q_norm", "self_attn.k_norm")


def _in_layer(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `mlp.up_proj.weight`; other names unchanged."""
    return name.split(".", 3)[3] if name.startswith("model.layers.") else name
