"""EXAONE 4: norms after blocks only; the 32B has windows with rotary embedding, and global layers without."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Fields, Gguf, Values
from qairt.model.families.olmo2 import GGUF_NORMS_AFTER, NORMS_AFTER


def _read(keys: ConfigValues) -> Values:
    values: Values = {"norms": NORMS_AFTER, "qk_norm": True}
    if keys.optional_number("sliding_window") is None:
        return values
    windowed = keys.layers_of_type("sliding_attention", lambda layer: keys.has_window(layer, usual=4))
    others = [layer for layer in keys.layers() if layer not in windowed]
    return {**values, **keys.windows(windowed), "unrotated_layers": others}


def _gguf(fields: Fields) -> Values:
    values: Values = {"norms": NORMS_AFTER, "qk_norm": True}
    if not fields.integer("attention.sliding_window", 0):
        return values
    windowed = fields.windowed_layers(4)
    return {
        **values,
        "windowed_layers": windowed,
        "unrotated_layers": [layer for layer in range(fields.integer("block_count")) if layer not in windowed],
    }


FAMILY = Family(
    name="exaone4",
    architecture="Exaone4ForCausalLM",
    title="EXAONE 4",
    models="EXAONE 4.0 1.2B and 32B",
    features=("norms after blocks only", "q/k norm", "windowed attention", "layers without rotary"),
    source="Exaone4Config and modeling_exaone4.py of transformers 5",
    defaults={
        **COMMON,
        "vocab_size": 102400,
        "intermediate_size": 16384,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "layer_types": None,
    },
    read=_read,
    gguf=Gguf("exaone4", names=GGUF_NORMS_AFTER, read=_gguf),
    tiny={
        "": {"num_hidden_layers": 4, "sliding_window": 8},
        "no-windows": {"sliding_window": None, "layer_types": ["full_attention"] * 2, "tie_word_embeddings": True},
    },
)
