"""OLMo 2: norms after attention and MLP, none before; queries and keys have one norm over all heads."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.model.families.family import COMMON, Family, Gguf, Values

OLMO: Mapping[str, JsonValue] = {
    **COMMON,
    "vocab_size": 50304,
    "intermediate_size": 11008,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "bos_token_id": None,
    "eos_token_id": 50279,
    "attention_bias": False,
    "rms_norm_eps": 1e-5,
}
NORMS_AFTER: Values = {
    "before_attention": None,
    "after_attention": "post_attention_layernorm",
    "before_mlp": None,
    "after_mlp": "post_feedforward_layernorm",
}
GGUF_NORMS_AFTER = {
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_VALUES: Values = {"norms": NORMS_AFTER, "qk_norm": True, "qk_norm_place": "whole"}
FAMILY = Family(
    name="olmo2",
    architecture="Olmo2ForCausalLM",
    title="OLMo 2",
    models="OLMo 2 1B, 7B, 13B, 32B",
    features=("norms after blocks only", "q/k norm over all heads"),
    source="Olmo2Config and modeling_olmo2.py of transformers 5; Olmo2Model of llama.cpp's convert_hf_to_gguf.py",
    defaults=OLMO,
    read=lambda keys: _VALUES,
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("olmo2", names=GGUF_NORMS_AFTER, read=lambda fields: _VALUES),
    tiny={
        "": {"pad_token_id": 0},
        "one-kv-head": {"pad_token_id": 0, "num_key_value_heads": 1, "attention_bias": True},
    },
)
