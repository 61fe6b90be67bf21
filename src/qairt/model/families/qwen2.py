"""Qwen2 and Qwen2.5: biases on queries, keys and values; windows in the upper layers, which are usually off."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import COMMON, Family, Gguf, Values

QWEN: Mapping[str, JsonValue] = {
    **COMMON,
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def qwen_windows(keys: ConfigValues) -> Values:
    """The layers from `max_window_layers` on have windows, if any has."""
    first = keys.value("max_window_layers")
    from_layer = first if isinstance(first, int) else 0
    layers = keys.layers_of_type("sliding_attention", lambda layer: layer >= from_layer)
    window = keys.optional_number("sliding_window")
    if not keys.flag("use_sliding_window") or not layers or window is None:
        return {}
    every = len(layers) == keys.number("num_hidden_layers")
    return {"sliding_window": window, "windowed_layers": None if every else list(layers)}


def _read(keys: ConfigValues) -> Values:
    return {"qkv_bias": True, **qwen_windows(keys)}


FAMILY = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    title="Qwen2",
    models="Qwen2, Qwen2.5, QwQ, DeepSeek-R1-Distill-Qwen",
    features=("q/k/v biases", "windowed attention"),
    source="Qwen2Config and modeling_qwen2.py of transformers 5; Qwen2Model of llama.cpp's convert_hf_to_gguf.py",
    defaults=QWEN,
    read=_read,
    gguf=Gguf("qwen2"),
    mask_floor=-1000.0,
    tiny={
        "": {},
        "tied": {"tie_word_embeddings": True},
        "windows": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    },
)
