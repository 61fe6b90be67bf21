"""What well-known models need that the decoder does not have."""

from __future__ import annotations

from collections.abc import Callable

_SCAN = "a state-space scan (Mamba)"
_DELTA = "the gated delta rule (linear attention)"
_LATENT = "multi-head latent attention"
_VISION = "a vision tower"
_AUDIO = "an audio encoder"
_ENCODER = "an encoder"
_POOLED = "a pooled output (an embedding model)"
_EXPERTS = "another kind of experts"
_SHARED = "experts that every token is given to, beside a choice of others"
_SOME = "experts in some layers beside plain MLPs"
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
    "qwen2_moe": _SHARED,
    "granitemoeshared": _SHARED,
    "phimoe": _EXPERTS,
    "ernie4_5_moe": _SHARED,
    "hunyuan_v1_moe": _SHARED,
    "glm4_moe": _SHARED,
    "lfm2_moe": _SOME,
    "lfm2moe": _SOME,
    "gemma3": _VISION,
    "llava": _VISION,
    "mllama": _VISION,
    "paligemma": _VISION,
    "qwen2_5_vl": _VISION,
    "qwen2_vl": _VISION,
    "qwen3_vl": _VISION,
    "smolvlm": _VISION,
    "whisper": _ENCODER,
    "t5": _ENCODER,
    "bert": _ENCODER,
    "jina-bert-v2": _ENCODER,
    "modern-bert": _ENCODER,
    "nomic-bert": _ENCODER,
    "t5encoder": _ENCODER,
    "clip": _VISION,
    "qwen2vl": _VISION,
    "qwen3vl": _VISION,
    "qwen35": _DELTA,
    "qwen35moe": _DELTA,
    "qwen3next": _DELTA,
    "gpt2": "learned position embeddings",
    "opt": "learned position embeddings",
    "bloom": "attention biases by distance (ALiBi)",
    "mpt": "attention biases by distance (ALiBi)",
}
"""`model_type`, or the architecture of a GGUF file -> the missing feature."""
_STATED = {
    "vision_config": _VISION,
    "vision_tower": _VISION,
    "img_processor": _VISION,
    "audio_config": _AUDIO,
    "thinker_config": _AUDIO,
    "is_encoder_decoder": _ENCODER,
    "pooling_type": _POOLED,
    "ssm.state_size": _SCAN,
    "mamba_d_state": _SCAN,
    "ssm_state_size": _SCAN,
    "attention.kv_lora_rank": _LATENT,
    "kv_lora_rank": _LATENT,
    "expert_count": _EXPERTS,
    "moe_num_experts": _EXPERTS,
    "n_routed_experts": _EXPERTS,
    "num_experts": _EXPERTS,
    "num_local_experts": _EXPERTS,
}
"""A key of `config.json`, or a field of GGUF, that states more than nothing -> the missing feature."""
_HEADS = {
    "ForConditionalGeneration": "an input other than text",
    "ForMaskedLM": _ENCODER,
    "ForQuestionAnswering": "a head other than the language model's",
    "ForSequenceClassification": "a head other than the language model's",
    "ForTokenClassification": "a head other than the language model's",
    "Model": _POOLED,
}
"""How the name of a class ends -> the missing feature; what the model computes before it may be supported."""


def missing_feature(name: str, model_type: str, get: Callable[[str], object]) -> str | None:
    """What an unsupported model needs, by its `model_type`, its settings, or its class.

    Args:
        get: the value of a key of its configuration; None if it has none.
    """
    if model_type in _MISSING:
        return _MISSING[model_type]
    stated = next((feature for key, feature in _STATED.items() if get(key)), None)
    if stated is not None:
        return stated
    plain = name.lower().replace("_", "")
    named = (feature for kind, feature in _MISSING.items() if plain.startswith(f"{kind.replace('_', '')}for"))
    ending = (feature for end, feature in _HEADS.items() if name.endswith(end) and not name.endswith("LMHeadModel"))
    return next(named, None) or next(ending, None)
