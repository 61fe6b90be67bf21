"""GLM-4 (0414): norms on both sides, half of each head rotated by neighbouring pairs, gate and up joined."""

from __future__ import annotations

from qairt.model.families.family import COMMON, Family, Gguf, Values

_VALUES: Values = {
    "output_bias": False,
    "rotary_interleaved": True,
    "norms": {"after_attention": "post_self_attn_layernorm", "after_mlp": "post_mlp_layernorm"},
}
_GGUF_NORMS = {"post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"}


FAMILY = Family(
    name="glm4",
    architecture="Glm4ForCausalLM",
    title="GLM-4 (0414)",
    models="GLM-4 9B and 32B (0414), GLM-Z1",
    features=("norms before and after", "partial rotary", "interleaved rotary", "q/k/v biases", "joined projections"),
    source="Glm4Config and modeling_glm4.py of transformers 5; Glm4Model of llama.cpp's convert_hf_to_gguf.py",
    defaults={
        **COMMON,
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1.5625e-7,
        "eos_token_id": None,
        "bos_token_id": None,
        "attention_bias": True,
    },
    read=lambda keys: _VALUES,
    partial_rotary=0.5,
    optional={"qkv_bias": True},
    gguf=Gguf("glm4", names=_GGUF_NORMS, read=lambda fields: _VALUES),
    tiny={"": {"pad_token_id": 0}, "no-biases": {"pad_token_id": 0, "attention_bias": False, "num_key_value_heads": 1}},
)
