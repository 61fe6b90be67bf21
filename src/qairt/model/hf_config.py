"""A decoder's configuration from a Hugging Face model directory, read as transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig, Family
from qairt.model.config_keys import refused_keys, unknown_keys
from qairt.model.families import ARCHITECTURES, unknown_architecture
from qairt.model.family_defaults import FAMILY_DEFAULTS
from qairt.model.json_file import read_json_object
from qairt.model.layout import LM_HEAD
from qairt.model.notes import Notes
from qairt.model.rope_parameters import RopeParameters

_PUBLISHED = "use the config.json that was published with the model"


def read_hf_config(directory: Path, tensors: Collection[str], notes: Notes) -> DecoderConfig:
    """Normalise `config.json` (and the end tokens of `generation_config.json`).

    Args:
        directory: a model directory that has a `config.json`.
        tensors: names of the stored weights; a stored `lm_head.weight` is used even if the configuration ties it, and a
            model without one is tied unless its configuration says otherwise.
        notes: what the user should know is added to it.

    Raises:
        ModelError: malformed, an unsupported architecture or feature; names the file and the key.
    """
    path = directory / "config.json"
    stated = read_json_object(path)
    keys = _Keys(stated, _family(stated, path), path)
    _refuse_unsupported(keys)
    unknown = unknown_keys(keys.family, stated)
    rope = RopeParameters(stated, keys.family, str(path))
    _tell_rope(rope, notes)
    trained_at = int(keys.number("max_position_embeddings"))
    attention_bias = keys.flag("attention_bias")
    values: dict[str, JsonValue] = {
        "family": keys.family,
        **_shape(keys),
        "rope_theta": rope.theta(),
        "rope_scaling": rope.scaling(trained_at),
        "max_position_embeddings": trained_at,
        "rms_norm_eps": keys.number("rms_norm_eps"),
        "tie_word_embeddings": _tied(keys, tensors, notes),
        "qkv_bias": keys.family == "qwen2" or attention_bias,
        "output_bias": attention_bias,
        "mlp_bias": keys.flag("mlp_bias"),
        "qk_norm": keys.family == "qwen3",
        "sliding_window": _sliding_window(keys),
        "bos_token_id": next(iter(_tokens(keys.value("bos_token_id"))), None),
        "eos_token_ids": _end_tokens(keys, directory, notes),
    }
    for name in (*unknown, *rope.unknown):
        notes.tell(f"{path.name}: {name} means nothing to {keys.family} models and is not used")
    _note_defaults(keys, notes)
    try:
        return DecoderConfig.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ModelError(f"{key}: {fault['msg']}", where=str(path), remedy=_PUBLISHED) from error


@dataclass(frozen=True)
class _Keys:
    """The stated values of a configuration, and its family's defaults where it has none."""

    stated: Mapping[str, JsonValue]
    family: Family
    path: Path

    def states(self, key: str) -> bool:
        return self.stated.get(key) is not None

    def value(self, key: str) -> JsonValue:
        """None for a key that the family does not have, whatever the file says."""
        defaults = FAMILY_DEFAULTS[self.family]
        return self.stated.get(key, defaults[key]) if key in defaults else None

    def number(self, key: str, *, default: float | None = None) -> float:
        value = self.stated.get(key, FAMILY_DEFAULTS[self.family].get(key))
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1 << 40:
            raise self.fault(key, value, "a positive number")
        return value

    def flag(self, key: str) -> bool:
        """False for a key that the family does not have."""
        value = self.value(key)
        if value is not None and not isinstance(value, bool):
            raise self.fault(key, value, "true or false")
        return bool(value)

    def fault(self, key: str, value: JsonValue, expected: str) -> ModelError:
        return ModelError(f"{key} is {json.dumps(value)}, not {expected}", where=str(self.path), remedy=_PUBLISHED)


def _tied(keys: _Keys, tensors: Collection[str], notes: Notes) -> bool:
    tied = keys.flag("tie_word_embeddings")
    if LM_HEAD in tensors:
        if tied:
            notes.reading("stored lm_head.weight")
        return False
    return tied or not keys.states("tie_word_embeddings")


def _shape(keys: _Keys) -> dict[str, JsonValue]:
    heads, hidden = keys.number("num_attention_heads"), keys.number("hidden_size")
    kv_heads = keys.number("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise ModelError(
            f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})",
            where=str(keys.path),
            remedy=_PUBLISHED,
        )
    return {
        "vocab_size": keys.number("vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": keys.number("intermediate_size"),
        "num_layers": keys.number("num_hidden_layers"),
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": keys.number("head_dim", default=hidden // heads),
    }


def _family(stated: Mapping[str, JsonValue], path: Path) -> Family:
    model_type = str(stated.get("model_type", ""))
    stated_architectures = stated.get("architectures")
    architectures = stated_architectures if isinstance(stated_architectures, list) else []
    for family, architecture in ARCHITECTURES.items():
        if model_type == family:
            if architectures and architecture not in architectures:
                raise unknown_architecture(str(architectures[0]), str(path))
            return family
    raise unknown_architecture(str(architectures[0]) if architectures else model_type, str(path))


def _refuse_unsupported(keys: _Keys) -> None:
    activation = keys.value("hidden_act")
    if activation not in ("silu", "swish"):
        raise unknown_architecture(f"{keys.family} with {activation} activations", str(keys.path))
    for key, why in refused_keys(keys.stated):
        raise ModelError(
            f"{key} is {json.dumps(keys.stated[key])}: {why}",
            where=str(keys.path),
            remedy="use a causal language model of a supported family",
        )


def _tell_rope(rope: RopeParameters, notes: Notes) -> None:
    if rope.replaced is not None:
        kind = rope.values.get("rope_type") or rope.values.get("type") or "default"
        notes.tell(
            f"config.json: rope_scaling ({kind}) takes the place of rope_parameters, as in transformers",
            reading="rope_scaling",
        )


def _note_defaults(keys: _Keys, notes: Notes) -> None:
    """What an earlier version took from Llama."""
    if keys.family == "phi3" and not keys.states("rms_norm_eps"):
        notes.reading("rms_norm_eps of phi3")


def _sliding_window(keys: _Keys) -> JsonValue:
    """The window of the layers that have one."""
    family, kinds = keys.family, keys.stated.get("layer_types")
    if kinds is not None and not (isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds)):
        raise keys.fault("layer_types", kinds, "a list of names")
    windowed = kinds is None or "sliding_attention" in kinds
    if family == "qwen2" or family == "qwen3":
        for kind in set(kinds or ()) - {"full_attention", "sliding_attention"}:
            raise unknown_architecture(f"{family} with {kind} layers", str(keys.path))
        if not keys.flag("use_sliding_window") or not windowed:
            return None
        first = keys.value("max_window_layers")
        if kinds is None and isinstance(first, int) and first >= keys.number("num_hidden_layers"):
            return None
    elif family == "llama" and not windowed:
        return None  # only transformers' cache reads it there, so that decoding has a window and prefill has none
    window = keys.stated.get("sliding_window", FAMILY_DEFAULTS[family].get("sliding_window"))
    return None if window is None else keys.number("sliding_window")


def _end_tokens(keys: _Keys, directory: Path, notes: Notes) -> list[JsonValue]:
    """Those of `generation_config.json` if it states any, else those of `config.json`."""
    path = directory / "generation_config.json"
    generation = read_json_object(path) if path.is_file() else {}
    own, theirs = _tokens(keys.value("eos_token_id")), _tokens(generation.get("eos_token_id"))
    if not theirs:
        if "eos_token_id" in keys.stated or path.is_file():
            return _once(_tokens(keys.stated.get("eos_token_id")))
        notes.reading("default eos_token_id")
        return own
    if "eos_token_id" in keys.stated and set(map(str, own)) - set(map(str, theirs)):
        notes.tell(
            f"generation_config.json ends texts with {_listed(theirs)} instead of {_listed(own)} of config.json",
            reading="eos_token_id of generation_config.json",
        )
    return _once(theirs)


def _once(tokens: list[JsonValue]) -> list[JsonValue]:
    return [token for at, token in enumerate(tokens) if token not in tokens[:at]]


def _listed(tokens: list[JsonValue]) -> str:
    return ("token " if len(tokens) == 1 else "tokens ") + ", ".join(map(str, tokens))


def _tokens(value: JsonValue) -> list[JsonValue]:
    """Some models write -1 for a token they do not have."""
    found = value if isinstance(value, list) else [value]
    return [token for token in found if token is not None and token != -1]
