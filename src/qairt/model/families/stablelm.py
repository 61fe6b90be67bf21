"""StableLM 2: LayerNorm with bias, a quarter of each head rotated."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Fields, Gguf, Values


def _read(keys: ConfigValues) -> Values:
    if keys.flag("qk_layernorm"):
        raise keys.not_supported("LayerNorm of queries and keys (qk_layernorm) is not supported")
    parallel = keys.flag("use_parallel_residual")
    norms: Values = {"kind": "layer", "bias": True}
    return {
        "norms": {**norms, "before_mlp": None} if parallel else norms,
        "parallel_blocks": parallel,
        "qkv_bias": keys.flag("use_qkv_bias"),
    }


def _gguf(fields: Fields) -> Values:
    parallel = bool(fields.get("use_parallel_residual"))
    norms: Values = {"kind": "layer", "bias": True}
    return {"norms": {**norms, "before_mlp": None} if parallel else norms, "parallel_blocks": parallel}


FAMILY = Family(
    name="stablelm",
    architecture="StableLmForCausalLM",
    title="StableLM",
    models="StableLM 3B, StableLM 2 1.6B, Zephyr",
    features=("LayerNorm with bias", "partial rotary", "parallel blocks"),
    source="StableLmConfig and modeling_stablelm.py of transformers 5",
    defaults={
        "hidden_act": "silu",
        "vocab_size": 50304,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "use_qkv_bias": False,
        "qk_layernorm": False,
        "use_parallel_residual": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    read=_read,
    partial_rotary=0.25,
    optional={"qkv_bias": True},
    gguf=Gguf("stablelm", read=_gguf),
    tiny={"": {"use_qkv_bias": True}, "parallel": {"use_parallel_residual": True, "partial_rotary_factor": 0.5}},
)
