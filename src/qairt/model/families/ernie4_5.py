"""ERNIE 4.5 (dense): rotary by neighbouring pairs, optional biases."""

from __future__ import annotations

from qairt.model.families.family import COMMON, Family, Gguf

FAMILY = Family(
    name="ernie4_5",
    architecture="Ernie4_5ForCausalLM",
    title="ERNIE 4.5",
    models="ERNIE 4.5 0.3B",
    features=("interleaved rotary",),
    source="Ernie4_5Config and modeling_ernie4_5.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 103424,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 18,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        "use_bias": False,
    },
    read=lambda keys: {
        "rotary_interleaved": True,
        **dict.fromkeys(("qkv_bias", "output_bias", "mlp_bias"), keys.flag("use_bias")),
    },
    rope_theta=500_000.0,
    optional={"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    gguf=Gguf("ernie4_5", read=lambda fields: {"rotary_interleaved": True}),
    tiny={"": {}, "biases": {"use_bias": True}},
)
