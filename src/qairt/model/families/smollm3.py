"""SmolLM3: every fourth layer has no rotary embedding."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Fields, Gguf, Values


def _gguf(fields: Fields) -> Values:
    return {"unrotated_layers": list(range(3, fields.integer("block_count"), 4))}


def _read(keys: ConfigValues) -> Values:
    interval, stated = keys.integer("no_rope_layer_interval"), keys.value("no_rope_layers")
    if stated is not None and not (isinstance(stated, list) and all(each in (0, 1) for each in stated)):
        raise keys.fault("no_rope_layers", stated, "a list of 0 and 1")
    count = keys.integer("num_hidden_layers")
    if isinstance(stated, list) and len(stated) != count:
        raise keys.fault("no_rope_layers", stated, f"a list of {count} numbers")
    if isinstance(stated, list):
        unrotated = {layer for layer, rotates in enumerate(stated) if not rotates}
    else:
        unrotated = set(keys.every(interval))
    window = keys.optional_number("sliding_window")
    usual = unrotated if keys.flag("use_sliding_window") else set()
    windowed = keys.layers_of_type("sliding_attention", usual.__contains__) if window is not None else ()
    return {
        "unrotated_layers": sorted(unrotated),
        "sliding_window": window if windowed else None,
        "windowed_layers": list(windowed) if windowed else None,
    }


FAMILY = Family(
    name="smollm3",
    architecture="SmolLM3ForCausalLM",
    title="SmolLM3",
    models="SmolLM3 3B",
    features=("layers without rotary", "windowed attention"),
    source="SmolLM3Config and modeling_smollm3.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
        "use_sliding_window": False,
        "sliding_window": None,
        "no_rope_layers": None,
        "no_rope_layer_interval": 4,
        "layer_types": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    },
    read=_read,
    rope_theta=2_000_000.0,
    optional={"qkv_bias": True, "output_bias": True, "mlp_bias": True},
    gguf=Gguf("smollm3", permuted=True, read=_gguf),
    tiny={
        "": {"num_hidden_layers": 4, "head_dim": 16, "pad_token_id": 0},
        "windows": {
            "num_hidden_layers": 4,
            "pad_token_id": 0,
            "use_sliding_window": True,
            "sliding_window": 8,
            "attention_bias": True,
        },
        "types": {
            "num_hidden_layers": 4,
            "pad_token_id": 0,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    },
)
