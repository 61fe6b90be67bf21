"""Llama, and the many models that are one: SmolLM2, Falcon 3, Llama 3.2 and others.

A `sliding_window` beside windowed `layer_types` is read by transformers' cache only, so that decoding would have a
window and a prompt none: a longer context is refused.
"""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Gguf, Values

_ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 16}


def _read(keys: ConfigValues) -> Values:
    if not keys.layers_of_type("sliding_attention", lambda layer: True):
        return {}
    window = keys.stated.get("sliding_window")
    return {} if window is None else {"sliding_window": keys.number("sliding_window"), "windowed_layers": []}


FAMILY = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    title="Llama",
    models="Llama 2, 3, 3.1, 3.2; SmolLM2; Falcon 3; TinyLlama",
    features=(),
    source="LlamaConfig and modeling_llama.py of transformers 5; LlamaModel of llama.cpp's convert_hf_to_gguf.py",
    defaults={
        **COMMON,
        "vocab_size": 32000,
        "intermediate_size": 11008,
        "num_key_value_heads": None,
        "head_dim": None,
        "max_position_embeddings": 2048,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    read=_read,
    optional={"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    proven=("float", "quantized", "emulated", "genie"),
    gguf=Gguf("llama", permuted=True),
    tiny={
        "": {},
        "tied": {"tie_word_embeddings": True},
        "biases": {"attention_bias": True, "mlp_bias": True},
        "falcon3": {"head_dim": 32, "num_key_value_heads": 1},
        "llama3": {
            "tie_word_embeddings": True,
            "rope_parameters": {
                **_ROPE,
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
        },
    },
)
