"""A decoder's configuration from the header of a GGUF file."""

from __future__ import annotations

import struct
from typing import Any

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig, Family
from qairt.model.families import unknown_architecture
from qairt.model.gguf.file import GgufHeader
from qairt.model.rope_scaling import normalise_rope_scaling

_FAMILIES: dict[str, Family] = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""llama.cpp calls Mistral's models llama too."""
_READ: tuple[Family, ...] = (*_FAMILIES.values(), "mistral")


def gguf_config(header: GgufHeader) -> DecoderConfig:
    """The configuration that a GGUF header states, with biases, norms and tying read off the tensors that exist.

    Raises:
        ModelError: an architecture that is not supported, or a field that is missing or impossible.
    """
    try:
        return _config(header)
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise ModelError(
            f"the GGUF header states an impossible decoder ({str(error).splitlines()[0]})",
            where=str(header.path),
            remedy="download or copy it again",
        ) from error


def _config(header: GgufHeader) -> DecoderConfig:
    where, fields, tensors = str(header.path), header.fields, header.tensors
    architecture = fields.get("general.architecture", "")
    if architecture not in _FAMILIES or fields.get(f"{architecture}.expert_count", 0) > 0:
        experts = " with experts" if architecture in _FAMILIES else ""
        raise unknown_architecture(f"{architecture}{experts}", where, _READ)

    def field(key: str, default: Any = None) -> Any:
        value = fields.get(f"{architecture}.{key}", default)
        if value is None:
            raise ModelError(
                f"the GGUF header lacks {architecture}.{key}",
                where=where,
                remedy="convert the model again with llama.cpp's convert_hf_to_gguf.py",
            )
        return _shortest(value) if isinstance(value, float) else value

    heads, hidden = field("attention.head_count"), field("embedding_length")
    kv_heads = field("attention.head_count_kv", heads)
    if not isinstance(heads, int) or not isinstance(kv_heads, int):
        raise unknown_architecture(f"{architecture} with head counts that differ by layer", where, _READ)
    dim = field("attention.key_length", hidden // heads)
    if field("rope.dimension_count", dim) != dim:
        raise unknown_architecture(f"{architecture} with rotary embedding on a part of each head", where, _READ)
    embedding = tensors.get("token_embd.weight")
    trained_at = field("context_length")
    return DecoderConfig(
        family=_FAMILIES[architecture],
        vocab_size=embedding.shape[0] if embedding else field("vocab_size"),
        hidden_size=hidden,
        intermediate_size=field("feed_forward_length"),
        num_layers=field("block_count"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=dim,
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_theta=field("rope.freq_base", 10000.0),
        rope_scaling=_rope_scaling(header, architecture, dim, trained_at),
        tie_word_embeddings="output.weight" not in tensors,
        qkv_bias="blk.0.attn_q.bias" in tensors,
        output_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_gate.bias" in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
        max_position_embeddings=trained_at,
        sliding_window=fields.get(f"{architecture}.attention.sliding_window") or None,
        bos_token_id=fields.get("tokenizer.ggml.bos_token_id"),
        eos_token_ids=_eos(fields),
    )


def _eos(fields: dict[str, Any]) -> tuple[int, ...]:
    keys = ("eos_token_id", "eot_token_id", "eom_token_id")
    found = [fields.get(f"tokenizer.ggml.{key}") for key in keys]
    return tuple(dict.fromkeys(value for value in found if value is not None))


def _rope_scaling(header: GgufHeader, architecture: str, dim: int, trained_at: int) -> dict[str, Any] | None:
    prefix = f"{architecture}.rope.scaling."
    stated = {key.removeprefix(prefix): value for key, value in header.fields.items() if key.startswith(prefix)}
    if "rope_freqs.weight" in header.tensors:
        theta = header.fields.get(f"{architecture}.rope.freq_base", 10000.0)
        return _frequency_factors(header, dim, theta)
    kind = stated.get("type", "none")
    if kind == "none":
        return None
    return normalise_rope_scaling(
        {
            "rope_type": kind,
            "factor": stated.get("factor"),
            "original_max_position_embeddings": stated.get("original_context_length"),
            "beta_fast": stated.get("yarn_beta_fast"),
            "beta_slow": stated.get("yarn_beta_slow"),
        },
        max_position_embeddings=trained_at,
        where=str(header.path),
    )


def _frequency_factors(header: GgufHeader, dim: int, theta: float) -> dict[str, Any]:
    """llama.cpp stores Llama 3's scaling as a table of divisors. Runtimes want its parameters: find them, and keep the
    table only if the published ones do not reproduce it."""
    import numpy as np

    from qairt.model.rope import llama3_factors, plain_frequencies

    tensor = header.tensors["rope_freqs.weight"]
    factors = np.fromfile(header.path, "<f4", tensor.nbytes // 4, offset=tensor.offset)
    llama3 = {
        "rope_type": "llama3",
        "original_max_position_embeddings": 8192,
        "factor": round(float(factors.max()), 4),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    if np.allclose(llama3_factors(plain_frequencies(dim, theta), llama3), factors, rtol=1e-4):
        return llama3
    return {"rope_type": "frequency_factors", "factors": [float(value) for value in factors]}


def _shortest(value: float) -> float:
    """A float32 as it was written: 1e-05, not the 9.999999747378752e-06 that Python makes of it."""
    for digits in range(6, 10):
        written = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", written))[0] == value:
            return written
    return value
