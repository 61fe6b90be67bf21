"""GPT-OSS: experts with clamped gates and biases, attention sinks, windows on every second layer, yarn."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Fields, Gguf, Values

_YARN: Mapping[str, JsonValue] = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def _values(count: float, chosen: float, width: float, *, limit: float, slope: float) -> Values:
    clamped = {"limit": limit, "slope": slope}
    experts = {"count": count, "chosen": chosen, "width": width, "bias": True, "clamped": clamped}
    return {"experts": experts, "sinks": True}


def _read(keys: ConfigValues) -> Values:
    found = _values(
        keys.number("num_local_experts"),
        keys.number("num_experts_per_tok"),
        keys.number("intermediate_size"),
        limit=keys.number("swiglu_limit"),
        slope=keys.number("swiglu_alpha"),
    )
    return found | keys.windows(keys.layers_of_type("sliding_attention", lambda layer: layer % 2 == 0))


def _gguf(fields: Fields) -> Values:
    found = _values(
        fields.integer("expert_count"),
        fields.integer("expert_used_count"),
        fields.integer("expert_feed_forward_length"),
        limit=7.0,
        slope=1.702,
    )
    return found | {"windowed_layers": fields.windowed_layers(2)}


FAMILY = Family(
    name="gpt_oss",
    architecture="GptOssForCausalLM",
    title="GPT-OSS",
    models="gpt-oss-20b",
    features=("experts", "clamped gates", "attention sinks", "q/k/v biases", "windowed attention", "yarn"),
    source="GptOssConfig and modeling_gpt_oss.py of transformers 5; GptOssModel of llama.cpp's converter",
    defaults={
        **COMMON,
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "bos_token_id": None,
        "eos_token_id": None,
        "attention_bias": True,
        "sliding_window": 128,
        "layer_types": None,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
    },
    read=_read,
    rope_theta=150_000.0,
    rope_parameters=_YARN,
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf(
        "gpt-oss",
        names={
            "post_attention_layernorm": "post_attention_norm",
        },
        experts=True,
        read=_gguf,
    ),
    tiny={
        "": {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "intermediate_size": 32,
            "sliding_window": 8,
            "rope_parameters": {
                **_YARN,
                "rope_theta": 150_000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
        "clamped": {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "intermediate_size": 32,
            "sliding_window": 8,
            "swiglu_limit": 0.5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 150_000.0},
        },
    },
)
