"""Granite MoE: Granite 3 with a mixture of experts in every layer."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Fields, Gguf, Values
from qairt.model.families.granite import GRANITE, granite_gguf_values, granite_values


def _read(keys: ConfigValues) -> Values:
    experts = {
        "count": keys.number("num_local_experts"),
        "chosen": keys.number("num_experts_per_tok"),
        "width": keys.number("intermediate_size"),
    }
    return {**granite_values(keys), "experts": experts}


def _gguf(fields: Fields) -> Values:
    experts = {
        "count": fields.integer("expert_count"),
        "chosen": fields.integer("expert_used_count"),
        "width": fields.integer("feed_forward_length"),
    }
    return {**granite_gguf_values(fields), "experts": experts}


FAMILY = Family(
    name="granitemoe",
    architecture="GraniteMoeForCausalLM",
    title="Granite MoE",
    models="Granite 3.0 and 3.1 1B-A400M, 3B-A800M",
    features=("experts", "multipliers"),
    source="GraniteMoeConfig and modeling_granitemoe.py of transformers 5; GraniteMoeModel of llama.cpp's converter",
    defaults={
        **{key: value for key, value in GRANITE.items() if key != "mlp_bias"},
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    read=_read,
    renamed={
        "block_sparse_moe.router.layer": "mlp.router",
        "block_sparse_moe.router": "mlp.router",
        "block_sparse_moe.input_linear": "mlp.experts.gate_up_proj",
        "block_sparse_moe.output_linear": "mlp.experts.down_proj",
        "block_sparse_moe.experts": "mlp.experts",
    },
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("granitemoe", permuted=True, scales=True, experts=True, read=_gguf),
    tiny={
        "": {
            "num_local_experts": 4,
            "intermediate_size": 32,
            "embedding_multiplier": 12.0,
            "logits_scaling": 6.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.1,
            "tie_word_embeddings": True,
        },
    },
)
