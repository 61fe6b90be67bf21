"""A decoder's configuration from a Hugging Face model directory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from pathlib import Path

from pydantic import JsonValue, ValidationError

from qairt.errors import ModelError
from qairt.files import read_json
from qairt.model.config import DecoderConfig, Family
from qairt.model.families import ARCHITECTURES, unknown_architecture
from qairt.model.rope_scaling import normalise_rope_scaling

_PUBLISHED = "use the config.json that was published with the model"


def read_hf_config(directory: Path, tensors: Collection[str]) -> DecoderConfig:
    """Normalise `config.json` (and the stop tokens of `generation_config.json`).

    Args:
        directory: a model directory that has a `config.json`.
        tensors: names of the stored weights; a model without `lm_head.weight` is tied unless its config says otherwise.

    Raises:
        ModelError: malformed, incomplete, an unsupported architecture or feature; names the file and the key.
    """
    path = directory / "config.json"
    stated = _read_json(path)
    family = _family(stated, path)
    attention_bias = bool(stated.get("attention_bias", False))
    tied = stated.get("tie_word_embeddings")
    ends = _tokens(stated.get("eos_token_id")) + _tokens(_generation_config(directory).get("eos_token_id"))
    values: dict[str, JsonValue] = {
        "family": family,
        **_shape(stated, family, path),
        **_rotary(stated, path),
        "rms_norm_eps": _number(stated, "rms_norm_eps", path, 1e-6),
        "tie_word_embeddings": "lm_head.weight" not in tensors if tied is None else tied,
        "qkv_bias": family == "qwen2" or attention_bias,
        "output_bias": family != "qwen2" and attention_bias,
        "mlp_bias": bool(stated.get("mlp_bias", False)),
        "qk_norm": family == "qwen3",
        "sliding_window": _sliding_window(stated, family),
        "bos_token_id": next(iter(_tokens(stated.get("bos_token_id"))), None),
        "eos_token_ids": [token for at, token in enumerate(ends) if token not in ends[:at]],
    }
    try:
        return DecoderConfig.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ModelError(f"{key}: {fault['msg']}", where=str(path), remedy=_PUBLISHED) from error


def _shape(stated: Mapping[str, JsonValue], family: Family, path: Path) -> dict[str, JsonValue]:
    heads, hidden = (_number(stated, key, path) for key in ("num_attention_heads", "hidden_size"))
    kv_heads = _number(stated, "num_key_value_heads", path, 8 if family == "mistral" else heads)
    if heads % kv_heads:
        raise ModelError(
            f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})",
            where=str(path),
            remedy=_PUBLISHED,
        )
    return {
        "vocab_size": _number(stated, "vocab_size", path),
        "hidden_size": hidden,
        "intermediate_size": _number(stated, "intermediate_size", path),
        "num_layers": _number(stated, "num_hidden_layers", path),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": _number(stated, "head_dim", path, 128 if family == "qwen3" else hidden // heads),
    }


def _rotary(stated: Mapping[str, JsonValue], path: Path) -> dict[str, JsonValue]:
    trained_at = int(_number(stated, "max_position_embeddings", path))
    # transformers 5 writes one mapping, `rope_parameters`; earlier versions put theta beside `rope_scaling`.
    rope = stated.get("rope_parameters") or stated.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelError(f"rope_scaling is {rope!r}, not a mapping", where=str(path), remedy=_PUBLISHED)
    rope = {"partial_rotary_factor": stated.get("partial_rotary_factor"), **rope}
    return {
        "max_position_embeddings": trained_at,
        "rope_theta": rope.get("rope_theta") or _number(stated, "rope_theta", path, 10000.0),
        "rope_scaling": normalise_rope_scaling(rope, max_position_embeddings=trained_at, where=str(path)),
    }


def _number(stated: Mapping[str, JsonValue], key: str, path: Path, default: float | None = None) -> float:
    value = stated.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        problem = "is missing" if value is None else f"is {value!r}, not a positive number"
        raise ModelError(f"{key} {problem}", where=str(path), remedy=_PUBLISHED)
    return value


def _read_json(path: Path) -> dict[str, JsonValue]:
    try:
        stated = read_json(path)
    except ValueError as error:
        raise ModelError(f"not JSON: {error}", where=str(path), remedy=_PUBLISHED) from error
    if not isinstance(stated, dict):
        raise ModelError("not a JSON object", where=str(path), remedy=_PUBLISHED)
    return stated


def _family(stated: Mapping[str, JsonValue], path: Path) -> Family:
    model_type = str(stated.get("model_type", ""))
    stated_architectures = stated.get("architectures")
    architectures = stated_architectures if isinstance(stated_architectures, list) else []
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
        method = packed.get("quant_method") if isinstance(packed, dict) else None
        raise ModelError(
            f"the weights are stored quantized ({method or 'unknown method'})",
            where=str(path),
            remedy="use the float model it was made from, or a GGUF file",
        )
    return family


def _sliding_window(stated: Mapping[str, JsonValue], family: Family) -> JsonValue:
    """The window of the layers that have one."""
    window = stated.get("sliding_window", 4096 if family == "mistral" else None)
    layer_types = stated.get("layer_types")
    if isinstance(layer_types, list) and "sliding_attention" not in layer_types:
        return None
    if family in ("mistral", "phi3"):
        # In the config of the first Mistral models a missing key means 4096, and null means none.
        return window
    if family == "llama" or not stated.get("use_sliding_window", False):
        return None
    first = stated.get("max_window_layers", 28)
    layers = stated["num_hidden_layers"]
    if layer_types is None and isinstance(first, int) and isinstance(layers, int) and first >= layers:
        return None
    return window


def _generation_config(directory: Path) -> dict[str, JsonValue]:
    path = directory / "generation_config.json"
    return _read_json(path) if path.is_file() else {}


def _tokens(value: JsonValue) -> list[JsonValue]:
    """Some models write -1 for a token they do not have."""
    found = value if isinstance(value, list) else [value]
    return [token for token in found if token is not None and token != -1]
