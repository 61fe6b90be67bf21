"""Gemma 3 (text): a norm on each head's queries and keys; windowed layers have a rotary embedding of their own.

EmbeddingGemma attends in both directions.
"""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import EmbeddingModels, Family, Fields, Gguf, Values
from qairt.model.families.gemma2 import GEMMA, GGUF_NORMS, gemma_gguf_values, gemma_values


def _read(keys: ConfigValues) -> Values:
    values = {**gemma_values(keys, lambda layer: keys.has_window(layer, usual=6)), "qk_norm": True}
    if not keys.flag("use_bidirectional_attention"):
        return values
    window = values["sliding_window"]
    return values | _in_both_directions(None if window is None else int(str(window)))


def _in_both_directions(window: int | None) -> Values:
    """Half of the stated window lies on either side."""
    return {"bidirectional": True, "sliding_window": None if window is None else window // 2 + 1}


def _gguf(fields: Fields) -> Values:
    return {
        **gemma_gguf_values(fields, pattern=6, whole_width=62),
        "qk_norm": True,
        "local_rotary": {"theta": fields.real("rope.freq_base_swa", 10_000.0)},
        "logits_cap": fields.real("final_logit_softcapping", 0.0) or None,
    }


def _gguf_embedding(fields: Fields) -> Values:
    return _gguf(fields) | _in_both_directions(fields.integer("attention.sliding_window"))


FAMILY = Family(
    name="gemma3_text",
    architecture="Gemma3ForCausalLM",
    title="Gemma 3",
    models="Gemma 3 270M and 1B",
    features=(
        "norms with 1 + w, before and after",
        "q/k norm",
        "scaled embedding",
        "GELU",
        "windowed attention",
        "a second rotary embedding",
    ),
    source="Gemma3TextConfig and modeling_gemma3.py of transformers 5; Gemma3Model of llama.cpp's converter",
    defaults={
        **GEMMA,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "final_logit_softcapping": None,
        "use_bidirectional_attention": False,
    },
    also_read=("rope_local_base_freq",),
    unread=("attn_logit_softcapping",),
    read=_read,
    rope_theta=1_000_000.0,
    local_rope_theta=10_000.0,
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("gemma3", names=GGUF_NORMS, holds_one=True, read=_gguf),
    embedding=EmbeddingModels(
        models="EmbeddingGemma",
        features=("attention in both directions", "mean of all tokens", "two linears"),
        tiny={
            "": {
                "kind": "mean",
                "dense": (96, 64),
                "use_bidirectional_attention": True,
                "num_hidden_layers": 3,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                "sliding_window": 12,
                "query_pre_attn_scalar": 24,
            },
        },
        gguf=Gguf("gemma-embedding", names=GGUF_NORMS, holds_one=True, read=_gguf_embedding),
    ),
    tiny={
        "": {"num_hidden_layers": 6, "sliding_window": 8, "query_pre_attn_scalar": 24},
        "scaled": {
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 8,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    },
)
