"""A decoder's configuration from the header of a GGUF file."""

from __future__ import annotations

import struct

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig, Family
from qairt.model.families import unknown_architecture
from qairt.model.gguf.file import GgufArray, GgufHeader, GgufValue
from qairt.model.rope_scaling import normalise_rope_scaling

_FAMILIES: dict[str, Family] = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""llama.cpp's name -> family; it calls Mistral's models llama too."""
_READ: tuple[Family, ...] = (*_FAMILIES.values(), "mistral")


def gguf_config(header: GgufHeader) -> DecoderConfig:
    """The configuration of a GGUF header; biases, norms and tying follow from the tensors that exist.

    Raises:
        ModelError: an unsupported architecture, or a field that is missing or impossible.
    """
    try:
        return _config(header)
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise ModelError(
            f"the GGUF header describes an impossible decoder ({str(error).splitlines()[0]})",
            where=str(header.path),
            remedy="download or copy it again",
        ) from error


def _config(header: GgufHeader) -> DecoderConfig:
    where, tensors = str(header.path), header.tensors
    architecture = str(header.fields.get("general.architecture", ""))
    fields = _Fields(header, f"{architecture}.")
    if architecture not in _FAMILIES or fields.integer("expert_count", 0) > 0:
        experts = " with experts" if architecture in _FAMILIES else ""
        raise unknown_architecture(f"{architecture}{experts}", where, _READ)
    heads, kv_heads = fields.get("attention.head_count"), fields.get("attention.head_count_kv")
    if isinstance(heads, GgufArray) or isinstance(kv_heads, GgufArray):
        raise unknown_architecture(f"{architecture} with head counts that differ by layer", where, _READ)
    heads, hidden = fields.integer("attention.head_count"), fields.integer("embedding_length")
    dim = fields.integer("attention.key_length", hidden // heads)
    if fields.integer("rope.dimension_count", dim) != dim:
        raise unknown_architecture(f"{architecture} with rotary embedding on a part of each head", where, _READ)
    embedding = tensors.get("token_embd.weight")
    trained_at = fields.integer("context_length")
    values: dict[str, JsonValue] = {
        "family": _FAMILIES[architecture],
        "vocab_size": embedding.shape[0] if embedding else fields.integer("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": fields.integer("feed_forward_length"),
        "num_layers": fields.integer("block_count"),
        "num_heads": heads,
        "num_kv_heads": fields.integer("attention.head_count_kv", heads),
        "head_dim": dim,
        "rms_norm_eps": fields.real("attention.layer_norm_rms_epsilon"),
        "rope_theta": fields.real("rope.freq_base", 10000.0),
        "rope_scaling": _rope_scaling(header, architecture, dim, trained_at),
        "tie_word_embeddings": "output.weight" not in tensors,
        "qkv_bias": "blk.0.attn_q.bias" in tensors,
        "output_bias": "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in tensors,
        "qk_norm": "blk.0.attn_q_norm.weight" in tensors,
        "max_position_embeddings": trained_at,
        "sliding_window": _plain(fields.get("attention.sliding_window")) or None,
        **_special_tokens(header),
    }
    return DecoderConfig.model_validate(values)


class _Fields:
    """The header's fields of one architecture."""

    def __init__(self, header: GgufHeader, prefix: str) -> None:
        self._header = header
        self._prefix = prefix

    def get(self, key: str) -> GgufValue | None:
        return self._header.fields.get(self._prefix + key)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._number(key, default)
        if not isinstance(value, int):
            raise TypeError(f"{self._prefix}{key} is {value!r}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self._number(key, default)
        return _shortest(value) if isinstance(value, float) else value

    def _number(self, key: str, default: float | None) -> float:
        value = self.get(key)
        value = default if value is None else value
        if value is None:
            raise ModelError(
                f"the GGUF header lacks {self._prefix}{key}",
                where=str(self._header.path),
                remedy="convert the model again with llama.cpp's convert_hf_to_gguf.py",
            )
        if not isinstance(value, int | float):
            raise TypeError(f"{self._prefix}{key} is {value!r}")
        return value


def _plain(value: GgufValue | None) -> JsonValue:
    if isinstance(value, GgufArray):
        raise TypeError("an array instead of a single value")
    return value


def _special_tokens(header: GgufHeader) -> dict[str, JsonValue]:
    def token(name: str) -> JsonValue:
        return _plain(header.fields.get(f"tokenizer.ggml.{name}_token_id"))

    ends = [token(name) for name in ("eos", "eot", "eom")]
    return {"bos_token_id": token("bos"), "eos_token_ids": list(dict.fromkeys(end for end in ends if end is not None))}


def _rope_scaling(header: GgufHeader, architecture: str, dim: int, trained_at: int) -> dict[str, JsonValue] | None:
    fields = _Fields(header, f"{architecture}.rope.")
    if "rope_freqs.weight" in header.tensors:
        return _frequency_factors(header, dim, fields.real("freq_base", 10000.0))
    kind = fields.get("scaling.type") or "none"
    if kind == "none":
        return None
    stated = {
        "rope_type": "scaling.type",
        "factor": "scaling.factor",
        "original_max_position_embeddings": "scaling.original_context_length",
        "beta_fast": "scaling.yarn_beta_fast",
        "beta_slow": "scaling.yarn_beta_slow",
    }
    return normalise_rope_scaling(
        {name: _plain(fields.get(key)) for name, key in stated.items()},
        max_position_embeddings=trained_at,
        where=str(header.path),
    )


def _frequency_factors(header: GgufHeader, dim: int, theta: float) -> dict[str, JsonValue]:
    """llama.cpp stores Llama 3's scaling as a table of divisors. Runtimes need its parameters: find them, and keep the
    table only if the published parameters do not reproduce it."""
    import numpy as np

    from qairt.model.rope import llama3_factors, plain_frequencies

    tensor = header.tensors["rope_freqs.weight"]
    factors = np.fromfile(header.path, "<f4", tensor.nbytes // 4, offset=tensor.offset)
    llama3: dict[str, JsonValue] = {
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
    """A float32 as it was written: 1e-05, not 9.999999747378752e-06."""
    for digits in range(6, 10):
        written = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", written))[0] == value:
            return written
    return value
