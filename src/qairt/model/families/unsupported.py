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
_CHUNKS = "attention in chunks"
_BY_LAYER = "embeddings in every layer"
_ALIBI = "attention biases by distance (ALiBi)"
_CLIPPED = "clipped queries, keys and values"
_NEEDING = {
    _SCAN: (
        *("bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "mamba", "mamba2", "nemotron_h"),
        *("zamba", "zamba2"),
    ),
    _DELTA: (
        *("olmo_hybrid", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"),
        *("qwen35", "qwen35moe", "qwen3next"),
    ),
    "lightning attention (linear attention)": ("minimax",),
    "a linear recurrence": ("recurrent_gemma", "rwkv", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7", "xlstm"),
    _LATENT: ("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "kimi_k2", "minicpm3"),
    _BY_LAYER: ("gemma3n", "gemma4"),
    _CHUNKS: ("llama4", "llama4_text"),
    "attention in blocks": ("phi3small",),
    "attention by hashing": ("reformer",),
    "differential attention": ("diffllama",),
    "gated attention": ("lfm3",),
    "queries scaled by their position": ("ministral3",),
    _CLIPPED: ("dbrx",),
    "queries, keys and values fused head by head": (
        *("falcon", "gpt_neox", "gpt_neox_japanese", "internlm2", "persimmon"),
    ),
    _SHARED: ("qwen2_moe", "granitemoeshared", "ernie4_5_moe", "hunyuan_v1_moe", "glm4_moe", "deepseek", "dots1"),
    "experts in some layers beside plain MLPs": ("lfm2_moe", "lfm2moe"),
    "experts in attention": ("jetmoe",),
    _EXPERTS: ("phimoe",),
    "the xIELU activation": ("apertus",),
    "norms inside attention and MLP": ("bitnet",),
    "norms without weights": ("nanochat", "olmo"),
    "a bias of lm_head": ("codegen", "gptj", "phi", "phi2"),
    "a dense layer before lm_head": ("modernbert-decoder",),
    "layers that differ in width": ("openelm",),
    "layers that run several times": ("hrm_text",),
    "patches of bytes": ("blt",),
    "learned position embeddings": (
        *("biogpt", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "openai-gpt", "opt", "starcoder", "xlm"),
    ),
    "sinusoidal position embeddings": ("ctrl", "xglm"),
    "relative position embeddings": ("cpmant", "xlnet"),
    _ALIBI: ("bloom", "mpt"),
    _VISION: (
        *("clip", "dots3_note", "emu3", "fuyu", "gemma3", "git", "llava", "mllama", "paligemma", "phi4_multimodal"),
        *("qwen2_5_vl", "qwen2_vl", "qwen2vl", "qwen3_vl", "qwen3vl", "qwen4_exp", "smolvlm", "trocr"),
    ),
    _AUDIO: ("moshi", "musicgen", "musicgen_melody"),
    _ENCODER: (
        *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert"),
        *("rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl"),
        *("xmod", "jina-bert-v2", "modern-bert", "nomic-bert", "t5", "t5encoder", "whisper"),
    ),
}
_MISSING = {kind: feature for feature, kinds in _NEEDING.items() for kind in kinds}
"""`model_type`, or the architecture of a GGUF file -> the missing feature."""
_STATED = {
    "vision_config": _VISION,
    "vision_tower": _VISION,
    "img_processor": _VISION,
    "alibi": _ALIBI,
    "audio_config": _AUDIO,
    "clip_qkv": _CLIPPED,
    "hidden_size_per_layer_input": _BY_LAYER,
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
