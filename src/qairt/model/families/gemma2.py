"""Gemma 2: norms on both sides of both blocks, capped scores and logits, windows on every second layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt

from pydantic import JsonValue

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Fields, Gguf, Values

GEMMA: Mapping[str, JsonValue] = {
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "layer_types": None,
    "use_bidirectional_attention": None,
}


NORMS: Values = {
    "plus_one": True,
    "after_attention": "post_attention_layernorm",
    "before_mlp": "pre_feedforward_layernorm",
    "after_mlp": "post_feedforward_layernorm",
}
GGUF_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def gemma_gguf_values(fields: Fields, *, pattern: int, whole_width: int) -> Values:
    """What Gemma 2 and 3 share in llama.cpp's files.

    Args:
        pattern: every so many-th layer has no window, where the header does not say it.
        whole_width: the number of layers of the size whose scores are scaled by the width of all heads.
    """
    layers, hidden = fields.integer("block_count"), fields.integer("embedding_length")
    heads = fields.integer("attention.head_count")
    dim = fields.integer("attention.key_length", hidden // heads)
    return {
        "norms": NORMS,
        "activation": "gelu_tanh",
        "embedding_multiplier": sqrt(hidden),
        "attention_scale": (hidden // heads if layers == whole_width else dim) ** -0.5,
        "windowed_layers": fields.windowed_layers(pattern),
    }


def _gguf(fields: Fields) -> Values:
    return {
        **gemma_gguf_values(fields, pattern=2, whole_width=46),
        "score_cap": fields.real("attn_logit_softcapping", 50.0),
        "logits_cap": fields.real("final_logit_softcapping", 30.0),
    }


def gemma_values(keys: ConfigValues, windowed: Callable[[int], bool]) -> Values:
    """What Gemma 2 and 3 share.

    Args:
        windowed: the layers with windows where the configuration lists no types.
    """
    window = keys.optional_number("sliding_window")
    layers = keys.layers_of_type("sliding_attention", windowed)
    return {
        "norms": NORMS,
        "embedding_multiplier": sqrt(keys.number("hidden_size")),
        "attention_scale": keys.number("query_pre_attn_scalar") ** -0.5,
        "logits_cap": keys.optional_number("final_logit_softcapping"),
        "sliding_window": window if layers else None,
        "windowed_layers": list(layers) if layers and window is not None else None,
    }


def _read(keys: ConfigValues) -> Values:
    if keys.flag("use_bidirectional_attention"):
        raise keys.not_supported("attention in both directions is not supported for generating models")
    score_cap = keys.optional_number("attn_logit_softcapping")
    return {**gemma_values(keys, lambda layer: layer % 2 == 0), "score_cap": score_cap}


FAMILY = Family(
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    title="Gemma 2",
    models="Gemma 2 2B, 9B, 27B",
    features=("norms with 1 + w, before and after", "scaled embedding", "GELU", "soft-caps", "windowed attention"),
    source="Gemma2Config and modeling_gemma2.py of transformers 5; Gemma2Model of llama.cpp's convert_hf_to_gguf.py",
    defaults={
        **GEMMA,
        "vocab_size": 256000,
        "max_position_embeddings": 8192,
        "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
    },
    read=_read,
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("gemma2", names=GGUF_NORMS, holds_one=True, read=_gguf),
    tiny={
        "": {"num_hidden_layers": 4, "sliding_window": 8, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 2.0},
        "uncapped": {"attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True},
    },
)
