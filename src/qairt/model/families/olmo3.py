"""OLMo 3: OLMo 2 with windows on three of four layers, whose rotary embedding is never scaled."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Values
from qairt.model.families.olmo2 import NORMS_AFTER, OLMO


def _read(keys: ConfigValues) -> Values:
    windowed = keys.layers_of_type("sliding_attention", lambda layer: (layer + 1) % 4 != 0)
    return {
        "norms": NORMS_AFTER,
        "qk_norm": True,
        "qk_norm_place": "whole",
        **keys.windows(windowed),
    }


FAMILY = Family(
    name="olmo3",
    architecture="Olmo3ForCausalLM",
    title="OLMo 3",
    models="OLMo 3 7B, 32B",
    features=("norms after blocks only", "q/k norm over all heads", "windowed attention", "a second rotary embedding"),
    source="Olmo3Config and modeling_olmo3.py of transformers 5",
    defaults={**OLMO, "sliding_window": 4096, "layer_types": None},
    read=_read,
    rope_theta=500_000.0,
    local_rope_theta=500_000.0,
    optional={"qkv_bias": True, "output_bias": True},
    tiny={
        "": {"pad_token_id": 0, "num_hidden_layers": 4, "sliding_window": 8},
        "yarn": {
            "pad_token_id": 0,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 8,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn",
                    "rope_theta": 5e5,
                    "factor": 4.0,
                    "original_max_position_embeddings": 16,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 5e5},
            },
        },
    },
)
