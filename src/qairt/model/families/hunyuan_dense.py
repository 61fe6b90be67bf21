"""Hunyuan (dense): a norm on each head's queries and keys, after the rotary embedding."""

from __future__ import annotations

from qairt.model.families.family import COMMON, Family, Gguf, Values

_VALUES: Values = {"qk_norm": True, "qk_norm_place": "after_rotary"}
FAMILY = Family(
    name="hunyuan_v1_dense",
    architecture="HunYuanDenseV1ForCausalLM",
    title="Hunyuan dense",
    models="Hunyuan 0.5B, 1.8B, 4B, 7B",
    features=("q/k norm after rotary",),
    source="HunYuanDenseV1Config and modeling_hunyuan_v1_dense.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 290943,
        "intermediate_size": 11008,
        "num_key_value_heads": None,
        "head_dim": None,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "attention_bias": False,
    },
    read=lambda keys: _VALUES,
    alpha_rotary=True,
    renamed={"self_attn.query_layernorm": "self_attn.q_norm", "self_attn.key_layernorm": "self_attn.k_norm"},
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("hunyuan-dense", read=lambda fields: _VALUES),
    tiny={
        "": {"pad_token_id": 0},
        "biases": {"pad_token_id": 0, "attention_bias": True, "tie_word_embeddings": True},
        "alpha": {
            "pad_token_id": 0,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0, "alpha": 1000.0},
        },
    },
)
