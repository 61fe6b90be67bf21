"""What well-known models need that the decoder does not have."""

from __future__ import annotations

_SCAN = "a state-space scan (Mamba)"
_DELTA = "the gated delta rule (linear attention)"
_LATENT = "multi-head latent attention"
_VISION = "a vision tower"
_EXPERTS = "a mixture of experts"
_MISSING = {
    "bamba": _SCAN,
    "falcon_h1": _SCAN,
    "falcon_mamba": _SCAN,
    "granitemoehybrid": _SCAN,
    "jamba": _SCAN,
    "mamba": _SCAN,
    "mamba2": _SCAN,
    "nemotron_h": _SCAN,
    "zamba": _SCAN,
    "zamba2": _SCAN,
    "olmo_hybrid": _DELTA,
    "qwen3_5": _DELTA,
    "qwen3_next": _DELTA,
    "recurrent_gemma": "a linear recurrence",
    "rwkv": "a linear recurrence",
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "glm4_moe_lite": _LATENT,
    "kimi_k2": _LATENT,
    "minicpm3": _LATENT,
    "gemma3n": "embeddings in every layer",
    "gemma4": "embeddings in every layer",
    "llama4": "attention in chunks",
    "mixtral": _EXPERTS,
    "qwen2_moe": _EXPERTS,
    "qwen3_moe": _EXPERTS,
    "granitemoe": _EXPERTS,
    "granitemoeshared": _EXPERTS,
    "olmoe": _EXPERTS,
    "phimoe": _EXPERTS,
    "ernie4_5_moe": _EXPERTS,
    "hunyuan_v1_moe": _EXPERTS,
    "glm4_moe": _EXPERTS,
    "gpt_oss": "a mixture of experts, and attention sinks",
    "lfm2": "short convolutions between attention layers",
    "lfm2_moe": "short convolutions between attention layers, and a mixture of experts",
    "gemma3": _VISION,
    "llava": _VISION,
    "mllama": _VISION,
    "paligemma": _VISION,
    "qwen2_5_vl": _VISION,
    "qwen2_vl": _VISION,
    "qwen3_vl": _VISION,
    "smolvlm": _VISION,
    "whisper": "an encoder",
    "t5": "an encoder",
    "bert": "an encoder",
    "gpt2": "learned position embeddings",
    "opt": "learned position embeddings",
    "bloom": "attention biases by distance (ALiBi)",
    "mpt": "attention biases by distance (ALiBi)",
}
"""`model_type` -> the missing feature."""


def missing_feature(name: str, model_type: str = "") -> str | None:
    """What an unsupported model needs, by its `model_type` or its class."""
    if model_type in _MISSING:
        return _MISSING[model_type]
    plain = name.lower().replace("_", "")
    return next(
        (feature for kind, feature in _MISSING.items() if plain.startswith(f"{kind.replace('_', '')}for")), None
    )
