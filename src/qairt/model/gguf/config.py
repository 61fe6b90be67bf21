"""A decoder's configuration from the header of a GGUF file."""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.families import unknown_architecture
from qairt.model.gguf.architectures import ARCHITECTURES
from qairt.model.gguf.fields import GgufFields
from qairt.model.gguf.file import GgufArray, GgufHeader
from qairt.model.gguf.pooling import gguf_pooling
from qairt.model.gguf.rope import gguf_rope_scaling
from qairt.model.notes import Notes

_REFUSED: dict[str, tuple[float, str]] = {
    "attention.causal": (True, "its attention is not causal: this is an encoder"),
    "attention.scale": (0, "another attention scale is not supported"),
    "attention.clamp_kqv": (0, "clamped queries, keys and values are not supported"),
    "expert_shared_count": (0, "experts that every token is given to are not supported"),
    "expert_shared_feed_forward_length": (0, "experts that every token is given to are not supported"),
    "expert_weights_scale": (1, "another scale of the experts' weights is not supported"),
    "rope.scaling.yarn_ext_factor": (1, "a part of yarn is not supported"),
    "rope.scaling.yarn_attn_factor": (1, "llama.cpp reads it for other architectures only"),
    "rope.scaling.yarn_log_multiplier": (0, "yarn with another attention factor is not supported"),
}
"""Field -> the value that changes nothing, and why a file with any other is refused."""


def gguf_config(header: GgufHeader, notes: Notes) -> DecoderConfig:
    """The configuration of a GGUF header; biases, norms and tying follow from the tensors that exist.

    Args:
        notes: what the user should know is added to it.

    Raises:
        ModelError: an unsupported architecture, or a field that is missing or impossible.
    """
    try:
        return _config(header, notes)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ModelError(
            f"the GGUF header describes an impossible decoder ({fault['loc'][0]}: {fault['msg']})",
            where=str(header.path),
            remedy="download or copy it again",
        ) from error
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise ModelError(
            f"the GGUF header describes an impossible decoder ({str(error).splitlines()[0]})",
            where=str(header.path),
            remedy="download or copy it again",
        ) from error


def _config(header: GgufHeader, notes: Notes) -> DecoderConfig:
    where, tensors = str(header.path), header.tensors
    architecture = str(header.fields.get("general.architecture", ""))
    fields = GgufFields(header, f"{architecture}.")
    if architecture not in ARCHITECTURES:
        raise unknown_architecture(architecture, where, architecture, fields.get)
    family, gguf = ARCHITECTURES[architecture]
    if (fields.integer("expert_count", 0) > 0) != gguf.experts:
        experts = "without" if gguf.experts else "with"
        raise unknown_architecture(f"{architecture} {experts} experts", where, architecture, fields.get)
    embeds = gguf is not family.gguf
    read = {"attention.scale": gguf.scales, "attention.causal": embeds}
    for key, (plain, why) in _REFUSED.items():
        value = fields.get(key)
        if value is not None and value != plain and not read.get(key):
            raise ModelError(
                f"{architecture}.{key} is {value}: {why}",
                where=where,
                remedy="use the Hugging Face model that it was converted from, or another GGUF file",
            )
    heads, hidden = fields.integer("attention.head_count"), fields.integer("embedding_length")
    dim = fields.integer("attention.key_length", hidden // heads)
    rotated = fields.integer("rope.dimension_count", dim)
    if rotated != dim and family.partial_rotary is None:
        raise unknown_architecture(f"{architecture} with rotary embedding on a part of each head", where)
    if fields.integer("attention.value_length", dim) != dim:
        raise unknown_architecture(f"{architecture} with values of another width than keys", where)
    embedding = tensors.get("token_embd.weight")
    trained_at = fields.integer("context_length")
    values: dict[str, object] = {
        "family": family.name,
        "vocab_size": embedding.shape[0] if embedding else fields.integer("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": fields.integer("feed_forward_length"),
        "num_layers": fields.integer("block_count"),
        "num_heads": heads,
        "num_kv_heads": fields.integer("attention.head_count_kv", heads),
        "head_dim": dim,
        "rms_norm_eps": _epsilon(fields),
        "rotary_dim": None if rotated == dim else rotated,
        "rope_theta": fields.real("rope.freq_base", 10000.0),
        "rope_scaling": gguf_rope_scaling(header, fields, rotated, trained_at, notes),
        "tie_word_embeddings": "output.weight" not in tensors,
        "qkv_bias": "blk.0.attn_q.bias" in tensors,
        "output_bias": "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "max_position_embeddings": trained_at,
        "sliding_window": fields.integer("attention.sliding_window", 0) or None,
        **_special_tokens(header),
        **gguf.read(fields),
        **gguf_pooling(header, fields, architecture, notes, embeds=embeds),
    }
    if values.get("convolution") and values.get("pooling"):
        raise unknown_architecture(f"{architecture} with a pooled output", where)
    return DecoderConfig.model_validate(values)


def _epsilon(fields: GgufFields) -> float:
    key = "attention.layer_norm_epsilon"
    return fields.real(key if fields.get(key) is not None else "attention.layer_norm_rms_epsilon")


def _special_tokens(header: GgufHeader) -> dict[str, JsonValue]:
    def token(name: str) -> JsonValue:
        value = header.fields.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(value, GgufArray):
            raise TypeError("an array instead of a token")
        return value

    ends = [token(name) for name in ("eos", "eot", "eom")]
    return {"bos_token_id": token("bos"), "eos_token_ids": list(dict.fromkeys(end for end in ends if end is not None))}
