"""Qwen3 with a mixture of experts in every layer."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Fields, Gguf, Values
from qairt.model.families.qwen2 import QWEN


def _read(keys: ConfigValues) -> Values:
    if keys.value("mlp_only_layers") or keys.integer("decoder_sparse_step") != 1:
        raise keys.not_supported("a plain MLP in some layers, beside experts in the others, is not supported")
    windows = {"sliding_window": keys.optional_number("sliding_window")} if keys.flag("use_sliding_window") else {}
    experts = {
        "count": keys.number("num_experts"),
        "chosen": keys.number("num_experts_per_tok"),
        "width": keys.number("moe_intermediate_size"),
        "weights_add_up": keys.flag("norm_topk_prob"),
    }
    return {"qk_norm": True, "experts": experts, **windows}


def _gguf(fields: Fields) -> Values:
    experts = {
        "count": fields.integer("expert_count"),
        "chosen": fields.integer("expert_used_count"),
        "width": fields.integer("expert_feed_forward_length"),
    }
    return {"qk_norm": True, "experts": experts}


FAMILY = Family(
    name="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    title="Qwen3 MoE",
    models="Qwen3-30B-A3B, Qwen3-Coder-30B-A3B",
    features=("experts", "q/k norm", "windowed attention"),
    source="Qwen3MoeConfig and modeling_qwen3_moe.py of transformers 5; Qwen3MoeModel of llama.cpp's converter",
    defaults={
        **{key: value for key, value in QWEN.items() if key not in ("max_window_layers", "layer_types")},
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "intermediate_size": 6144,
        "num_key_value_heads": 4,
        "attention_bias": False,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
    },
    read=_read,
    aliases={"num_local_experts": "num_experts"},
    renamed={"mlp.gate": "mlp.router"},
    optional={"qkv_bias": True, "output_bias": True},
    proven=("float", "quantized", "emulated", "genie"),
    gguf=Gguf("qwen3moe", experts=True, read=_gguf),
    tiny={
        "": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True},
        "not-added-up": {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32},
    },
)
