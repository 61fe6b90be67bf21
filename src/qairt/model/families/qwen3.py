"""Qwen3, and the decoder of Qwen3-Embedding: a norm on each head's queries and keys."""

from __future__ import annotations

from qairt.model.config_values import ConfigValues
from qairt.model.families.family import EmbeddingModels, Family, Gguf, Values
from qairt.model.families.qwen2 import QWEN, qwen_windows


def _read(keys: ConfigValues) -> Values:
    return {"qk_norm": True, **qwen_windows(keys)}


FAMILY = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    title="Qwen3",
    models="Qwen3 (dense)",
    features=("q/k norm", "windowed attention"),
    source="Qwen3Config and modeling_qwen3.py of transformers 5; Qwen3Model of llama.cpp's convert_hf_to_gguf.py",
    defaults={**QWEN, "head_dim": 128, "attention_bias": False},
    read=_read,
    optional={"qkv_bias": True, "output_bias": True},
    proven=("float", "quantized", "emulated", "genie"),
    gguf=Gguf("qwen3", read=lambda fields: {"qk_norm": True}),
    embedding=EmbeddingModels(
        models="Qwen3-Embedding",
        features=("the last token",),
        tiny={"": {"kind": "last"}, "not-normalized": {"kind": "last", "normalize": False}},
    ),
    tiny={
        "": {},
        "tied-biases": {"tie_word_embeddings": True, "attention_bias": True},
        "one-query-per-key": {"num_key_value_heads": 4},
    },
)
