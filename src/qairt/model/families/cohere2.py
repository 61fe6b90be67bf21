"""Command R7B: Cohere with windows on three of four layers; the others have no rotary embedding."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.cohere import COHERE, SHAPE, cohere_values
from qairt.model.families.family import Family, Fields, Gguf, Values


def _read(keys: ConfigValues) -> Values:
    windowed = keys.layers_of_type("sliding_attention", lambda layer: keys.has_window(layer, usual=4))
    others = [layer for layer in keys.layers() if layer not in windowed]
    return {**cohere_values(keys), **keys.windows(windowed), "unrotated_layers": others}


def _gguf(fields: Fields) -> Values:
    windowed = fields.windowed_layers(4)
    return {
        **SHAPE,
        "logits_multiplier": fields.real("logit_scale"),
        "windowed_layers": windowed,
        "unrotated_layers": [layer for layer in range(fields.integer("block_count")) if layer not in windowed],
    }


FAMILY = Family(
    name="cohere2",
    architecture="Cohere2ForCausalLM",
    title="Command R7B",
    models="Command R7B, Command A, Tiny Aya",
    features=(
        "parallel blocks",
        "LayerNorm",
        "interleaved rotary",
        "scaled logits",
        "windowed attention",
        "layers without rotary",
    ),
    source="Cohere2Config and modeling_cohere2.py of transformers 5",
    defaults={**COHERE, "sliding_window": 4096, "layer_types": None},
    read=_read,
    optional={"qkv_bias": True, "output_bias": True},
    gguf=Gguf("cohere2", read=_gguf),
    tiny={"": {"num_hidden_layers": 4, "sliding_window": 8, "pad_token_id": 0}},
)
