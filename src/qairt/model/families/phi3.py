"""Phi-3, Phi-3.5 and Phi-4: joined projections, read apart; longrope; Phi-4-mini rotates a part of each head."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Gguf, Values


def _read(keys: ConfigValues) -> Values:
    return {"sliding_window": keys.optional_number("sliding_window")}


FAMILY = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    title="Phi-3 and Phi-4",
    models="Phi-3-mini, Phi-3.5-mini, Phi-4, Phi-4-mini",
    features=("joined projections", "longrope", "partial rotary", "windowed attention"),
    source="Phi3Config and modeling_phi3.py of transformers 5; Phi3MiniModel of llama.cpp's convert_hf_to_gguf.py",
    defaults={
        **COMMON,
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_key_value_heads": None,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 32000,
    },
    read=_read,
    partial_rotary=1.0,
    proven=("float", "quantized", "emulated", "genie"),
    gguf=Gguf("phi3"),
    tiny={
        "": {"pad_token_id": 0},
        "one-kv-head": {"pad_token_id": 0, "num_key_value_heads": 1},
        "windows": {"pad_token_id": 0, "sliding_window": 8},
        "longrope": {
            "pad_token_id": 0,
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0, 1.02, 1.05, 1.1, 1.2, 1.4, 1.8, 2.5],
                "long_factor": [1.1, 1.3, 1.7, 2.5, 4.0, 8.0, 16.0, 32.0],
            },
        },
        "partial-longrope": {
            "pad_token_id": 0,
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
                "long_factor": [1.1, 1.3, 1.7, 2.5, 4.0, 8.0],
            },
        },
    },
)
