"""Granite 3: constant factors on embeddings, residuals, scores and logits."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Fields, Gguf, Values

GRANITE: Mapping[str, JsonValue] = {
    **COMMON,
    "vocab_size": 32000,
    "intermediate_size": 11008,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_bias": False,
    "mlp_bias": False,
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
}


def granite_values(keys: ConfigValues) -> Values:
    return {
        "embedding_multiplier": keys.number("embedding_multiplier"),
        "residual_multiplier": keys.number("residual_multiplier"),
        "attention_scale": keys.number("attention_multiplier"),
        "logits_multiplier": 1 / keys.number("logits_scaling"),
    }


def granite_gguf_values(fields: Fields) -> Values:
    return {
        "embedding_multiplier": fields.real("embedding_scale", 1.0),
        "residual_multiplier": fields.real("residual_scale", 1.0),
        "attention_scale": fields.real("attention.scale", 0.0) or None,
        "logits_multiplier": 1 / fields.real("logit_scale", 1.0),
    }


FAMILY = Family(
    name="granite",
    architecture="GraniteForCausalLM",
    title="Granite 3",
    models="Granite 3.0 to 3.3, 2B and 8B",
    features=("multipliers",),
    source="GraniteConfig and modeling_granite.py of transformers 5; GraniteModel of llama.cpp's convert_hf_to_gguf.py",
    defaults=GRANITE,
    read=granite_values,
    optional={"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    gguf=Gguf("granite", permuted=True, scales=True, read=granite_gguf_values),
    tiny={
        "": {
            "embedding_multiplier": 12.0,
            "logits_scaling": 8.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.1,
            "tie_word_embeddings": True,
        },
        "biases": {"attention_bias": True, "mlp_bias": True, "residual_multiplier": 0.22},
    },
)
