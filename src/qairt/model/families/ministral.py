"""Ministral: Mistral with windowed and other layers."""

from __future__ import annotations

from qairt.model.families.family import COMMON, Family

FAMILY = Family(
    name="ministral",
    architecture="MinistralForCausalLM",
    title="Ministral",
    models="Ministral 8B (2410)",
    features=("windowed attention",),
    source="MinistralConfig and modeling_ministral.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 32000,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "head_dim": None,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "layer_types": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    read=lambda keys: keys.windows(keys.layers_of_type("sliding_attention", lambda layer: True)),
    tiny={
        "": {
            "num_hidden_layers": 4,
            "layer_types": ["full_attention", *["sliding_attention"] * 3],
            "sliding_window": 8,
            "head_dim": 32,
        }
    },
)
