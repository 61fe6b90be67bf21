"""Mistral: windowed attention in every layer where the configuration has a window."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Values


def _read(keys: ConfigValues) -> Values:
    if keys.states("layer_types"):  # transformers takes it for a Ministral
        return keys.windows(keys.layers_of_type("sliding_attention", lambda layer: True))
    return {"sliding_window": keys.optional_number("sliding_window")}


FAMILY = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    title="Mistral",
    models="Mistral 7B, Mistral Nemo, Mistral Small",
    features=("windowed attention",),
    source="MistralConfig and modeling_mistral.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 32000,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "head_dim": None,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    read=_read,
    tiny={"": {"sliding_window": None}, "windows": {"sliding_window": 8}},
)
