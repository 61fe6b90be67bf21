"""OLMoE: experts whose weights do not add up to 1, and a norm over all heads of queries and keys."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import Family, Fields, Gguf, Values
from qairt.model.families.olmo2 import OLMO


def _values(count: float, chosen: float, width: float, *, add_up: bool) -> Values:
    experts = {"count": count, "chosen": chosen, "width": width, "weights_add_up": add_up}
    return {"qk_norm": True, "qk_norm_place": "whole", "experts": experts}


def _read(keys: ConfigValues) -> Values:
    if keys.value("clip_qkv") is not None:
        raise keys.not_supported("clipped queries, keys and values (clip_qkv) are not supported")
    count = keys.number("num_experts")
    chosen, width = keys.number("num_experts_per_tok"), keys.number("intermediate_size")
    return _values(count, chosen, width, add_up=keys.flag("norm_topk_prob"))


def _gguf(fields: Fields) -> Values:
    count, chosen = fields.integer("expert_count"), fields.integer("expert_used_count")
    return _values(count, chosen, fields.integer("feed_forward_length"), add_up=False)


FAMILY = Family(
    name="olmoe",
    architecture="OlmoeForCausalLM",
    title="OLMoE",
    models="OLMoE 1B-7B",
    features=("experts", "q/k norm over all heads"),
    source="OlmoeConfig and modeling_olmoe.py of transformers 5; OlmoeModel of llama.cpp's convert_hf_to_gguf.py",
    defaults={
        **OLMO,
        "intermediate_size": 2048,
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "max_position_embeddings": 4096,
        "clip_qkv": None,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "norm_topk_prob": False,
    },
    read=_read,
    aliases={"num_local_experts": "num_experts"},
    renamed={"mlp.gate": "mlp.router"},
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("olmoe", experts=True, read=_gguf),
    tiny={
        "": {"pad_token_id": 0, "num_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 32},
    },
)
