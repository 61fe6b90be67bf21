"""A decoder's configuration from a Hugging Face model directory."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig, Family
from qairt.model.families import ARCHITECTURES, unknown_architecture
from qairt.model.rope_scaling import normalise_rope_scaling

_PUBLISHED = "take the config.json that was published with the model"


def read_hf_config(directory: Path, tensors: Collection[str]) -> DecoderConfig:
    """Normalise `config.json` (and the stop tokens of `generation_config.json`).

    Args:
        directory: a model directory that has a `config.json`.
        tensors: names of the stored weights; a model without `lm_head.weight` whose config does not say is tied.

    Raises:
        ModelError: malformed, incomplete, an unsupported architecture or feature; names the file and the key.
    """
    path = directory / "config.json"
    stated = _read_json(path)
    family = _family(stated, path)

    def number(key: str, default: Any = None) -> Any:
        value = stated.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            problem = "is missing" if value is None else f"is {value!r}, not a positive number"
            raise ModelError(f"{key} {problem}", where=str(path), remedy=_PUBLISHED)
        return value

    heads, hidden, trained_at = (number(k) for k in ("num_attention_heads", "hidden_size", "max_position_embeddings"))
    kv_heads = number("num_key_value_heads", 8 if family == "mistral" else heads)
    if heads % kv_heads:
        raise ModelError(
            f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})",
            where=str(path),
            remedy=_PUBLISHED,
        )
    # transformers 5 writes one mapping, `rope_parameters`; before, theta stood beside `rope_scaling`.
    rope = dict(stated.get("rope_parameters") or stated.get("rope_scaling") or {})
    rope.setdefault("partial_rotary_factor", stated.get("partial_rotary_factor"))
    tied = stated.get("tie_word_embeddings")
    attention_bias = bool(stated.get("attention_bias", False))
    eos = stated.get("eos_token_id"), _generation_config(directory).get("eos_token_id")
    try:
        return DecoderConfig(
            family=family,
            vocab_size=number("vocab_size"),
            hidden_size=hidden,
            intermediate_size=number("intermediate_size"),
            num_layers=number("num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=number("head_dim", 128 if family == "qwen3" else hidden // heads),
            rms_norm_eps=number("rms_norm_eps", 1e-6),
            rope_theta=rope.get("rope_theta") or number("rope_theta", 10000.0),
            rope_scaling=normalise_rope_scaling(rope, max_position_embeddings=trained_at, where=str(path)),
            tie_word_embeddings="lm_head.weight" not in tensors if tied is None else tied,
            qkv_bias=family == "qwen2" or attention_bias,
            output_bias=family != "qwen2" and attention_bias,
            mlp_bias=bool(stated.get("mlp_bias", False)),
            qk_norm=family == "qwen3",
            max_position_embeddings=trained_at,
            sliding_window=_sliding_window(stated, family),
            bos_token_id=_first(stated.get("bos_token_id")),
            eos_token_ids=tuple(dict.fromkeys(token for value in eos for token in _tokens(value))),
        )
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ModelError(f"{key}: {fault['msg']}", where=str(path), remedy=_PUBLISHED) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"not JSON: {error}", where=str(path), remedy=_PUBLISHED) from error
    if not isinstance(stated, dict):
        raise ModelError("not a JSON object", where=str(path), remedy=_PUBLISHED)
    return stated


def _family(stated: Mapping[str, Any], path: Path) -> Family:
    model_type = str(stated.get("model_type", ""))
    architectures = stated.get("architectures") or []
    for family, architecture in ARCHITECTURES.items():
        if model_type == family:
            if architectures and architecture not in architectures:
                raise unknown_architecture(str(architectures[0]), str(path))
            break
    else:
        raise unknown_architecture(str(architectures[0]) if architectures else model_type, str(path))
    activation = stated.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise unknown_architecture(f"{model_type} with {activation} activations", str(path))
    packed = stated.get("quantization_config")
    if packed:
        raise ModelError(
            f"the weights are stored quantized ({packed.get('quant_method', 'an unknown method')})",
            where=str(path),
            remedy="use the float model it was made from, or a GGUF file",
        )
    return family


def _sliding_window(stated: Mapping[str, Any], family: Family) -> int | None:
    """The window of the layers that have one."""
    window: int | None = stated.get("sliding_window", 4096 if family == "mistral" else None)
    layer_types = stated.get("layer_types")
    if layer_types is not None and "sliding_attention" not in layer_types:
        return None
    if family in ("mistral", "phi3"):
        # Absent from a config of the first Mistral models means their 4096, null means none.
        return window
    if family == "llama" or not stated.get("use_sliding_window", False):
        return None
    if layer_types is None and stated.get("max_window_layers", 28) >= stated["num_hidden_layers"]:
        return None
    return window


def _generation_config(directory: Path) -> dict[str, Any]:
    path = directory / "generation_config.json"
    return _read_json(path) if path.is_file() else {}


def _tokens(value: Any) -> list[int]:
    """Some write -1 for a token that the model does not have."""
    found = list(value) if isinstance(value, list) else [value]
    return [token for token in found if token is not None and token != -1]


def _first(value: Any) -> int | None:
    return next(iter(_tokens(value)), None)
