"""Nemotron (Minitron): LayerNorm with 1 + w, squared ReLU without gate, half of each head rotated."""

from __future__ import annotations

from qairt.model.families.family import Family, Gguf, Values

_VALUES: Values = {"norms": {"kind": "layer", "bias": True, "plus_one": True}, "gated_mlp": False}
FAMILY = Family(
    name="nemotron",
    architecture="NemotronForCausalLM",
    title="Nemotron",
    models="Nemotron-4, Minitron 4B and 8B",
    features=("LayerNorm with 1 + w", "squared ReLU", "partial rotary"),
    source="NemotronConfig and modeling_nemotron.py of transformers 5",
    defaults={
        "hidden_act": "relu2",
        "vocab_size": 256000,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 32,
        "num_attention_heads": 48,
        "num_key_value_heads": None,
        "head_dim": None,
        "max_position_embeddings": 4096,
        "norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    read=lambda keys: _VALUES,
    partial_rotary=0.5,
    optional={"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    gguf=Gguf("nemotron", holds_one=True, read=lambda fields: {**_VALUES, "activation": "relu2"}),
    tiny={"": {}, "biases": {"attention_bias": True, "mlp_bias": True}},
)
