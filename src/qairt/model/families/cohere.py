"""Cohere Command R: attention and MLP side by side, LayerNorm without bias, rotary by neighbouring pairs."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Gguf, Values

COHERE: Mapping[str, JsonValue] = {
    "hidden_act": "silu",
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "logit_scale": 0.0625,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": None,
    "max_position_embeddings": 8192,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 5,
    "eos_token_id": 255001,
    "tie_word_embeddings": True,
    "attention_bias": False,
}


SHAPE: Values = {
    "norms": {"kind": "layer", "before_mlp": None},
    "parallel_blocks": True,
    "rotary_interleaved": True,
}


def cohere_values(keys: ConfigValues) -> Values:
    return {**SHAPE, "logits_multiplier": keys.number("logit_scale")}


def _read(keys: ConfigValues) -> Values:
    if keys.flag("use_qk_norm"):
        raise keys.not_supported("LayerNorm of queries and keys (use_qk_norm) is not supported")
    return cohere_values(keys)


FAMILY = Family(
    name="cohere",
    architecture="CohereForCausalLM",
    title="Command R",
    models="Command R (2024), Aya 23",
    features=("parallel blocks", "LayerNorm", "interleaved rotary", "scaled logits"),
    source="CohereConfig and modeling_cohere.py of transformers 5",
    defaults={**COHERE, "use_qk_norm": False},
    read=_read,
    rope_theta=500_000.0,
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("command-r", read=lambda fields: {**SHAPE, "logits_multiplier": fields.real("logit_scale")}),
    tiny={"": {"pad_token_id": 0}, "biases": {"pad_token_id": 0, "attention_bias": True}},
)
