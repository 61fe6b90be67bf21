"""Mixtral: Mistral with a mixture of experts in every layer."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Values


def _read(keys: ConfigValues) -> Values:
    experts = {
        "count": keys.number("num_local_experts"),
        "chosen": keys.number("num_experts_per_tok"),
        "width": keys.number("intermediate_size"),
    }
    return {"experts": experts, "sliding_window": keys.optional_number("sliding_window")}


FAMILY = Family(
    name="mixtral",
    architecture="MixtralForCausalLM",
    title="Mixtral",
    models="Mixtral 8x7B",
    features=("experts", "windowed attention"),
    source="MixtralConfig and modeling_mixtral.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 32000,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "head_dim": None,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    read=_read,
    rope_theta=1_000_000.0,
    renamed={"block_sparse_moe.gate": "mlp.router", "block_sparse_moe.experts": "mlp.experts"},
    tiny={"": {"num_local_experts": 4, "intermediate_size": 32}},
)
