"""A decoder's configuration from a Hugging Face model directory, read as transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import JsonValue, ValidationError

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.config_keys import refused_keys, unknown_keys
from qairt.model.config_values import PUBLISHED, ConfigValues
from qairt.model.families import FAMILIES, unknown_architecture
from qairt.model.families.family import Family
from qairt.model.json_file import read_json_object
from qairt.model.layout import LM_HEAD
from qairt.model.multimodal import text_config
from qairt.model.notes import Notes
from qairt.model.rope_parameters import RopeParameters
from qairt.model.sentence_transformers import is_embedding_model, read_pooling

_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu2": "relu2",
}
"""As transformers names them -> as the decoder does."""
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon")


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
    whole = read_json_object(path)
    inner = text_config(whole)
    stated = whole if inner is None else inner
    family = family_of(whole, path)
    if inner is not None:
        notes.tell(f"{path.name}: of this {whole['model_type']} model only the text model is read: no vision")
    stated = {family.aliases.get(key, key): value for key, value in stated.items()}
    keys = ConfigValues(stated, family.defaults, path)
    _refuse_unsupported(keys)
    unknown = unknown_keys(family, stated)
    rope = RopeParameters(stated, family, str(path))
    _tell_rope(rope, notes)
    trained_at = keys.integer("max_position_embeddings")
    shape = _shape(keys)
    values: dict[str, object] = {
        "family": family.name,
        **shape,
        **rope.fields(trained_at, head_dim=int(shape["head_dim"])),
        "max_position_embeddings": trained_at,
        "rms_norm_eps": keys.number(next(key for key in _EPSILONS if key in family.defaults)),
        "tie_word_embeddings": _tied(keys, tensors, notes),
        "qkv_bias": keys.flag("attention_bias"),
        "output_bias": keys.flag("attention_bias"),
        "mlp_bias": keys.flag("mlp_bias"),
        "activation": _activation(keys, family),
        "bos_token_id": next(iter(_tokens("bos_token_id", keys.value("bos_token_id"), path)), None),
        "eos_token_ids": _end_tokens(keys, directory, notes),
        **family.read(keys),
    }
    pooling = read_pooling(directory, int(shape["hidden_size"]))
    if pooling is not None:
        if values.get("convolution"):
            raise keys.not_supported("embedding models with short convolutions are not supported")
        values["pooling"] = pooling
    elif values.get("bidirectional"):
        raise keys.not_supported("attention in both directions is not supported for generating models")
    for name in (*unknown, *rope.unknown):
        notes.tell(f"{path.name}: {name} means nothing to {family.name} models and is not used")
    _note_defaults(keys, family, notes)
    try:
        return DecoderConfig.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ModelError(f"{key}: {fault['msg']}", where=str(path), remedy=PUBLISHED) from error


def _tied(keys: ConfigValues, tensors: Collection[str], notes: Notes) -> bool:
    tied = keys.flag("tie_word_embeddings")
    if LM_HEAD in tensors:
        if tied:
            notes.reading("stored lm_head.weight")
        return False
    return tied or not keys.states("tie_word_embeddings")


def _shape(keys: ConfigValues) -> dict[str, float]:
    heads, hidden = keys.number("num_attention_heads"), keys.number("hidden_size")
    kv_heads = keys.number("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise ModelError(
            f"num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})",
            where=str(keys.path),
            remedy=PUBLISHED,
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


def family_of(stated: Mapping[str, JsonValue], path: Path) -> Family:
    """The family of a `config.json`.

    Raises:
        ModelError: it states none, or one that is not supported; names the feature that is missing.
    """
    stated = text_config(stated) or stated
    model_type = str(stated.get("model_type", ""))
    stated_architectures = stated.get("architectures")
    architectures = stated_architectures if isinstance(stated_architectures, list) else []
    family = FAMILIES.get(model_type)
    if family is not None and (not architectures or family.architecture in architectures):
        return family
    if family is not None and is_embedding_model(path.parent) and str(architectures[0]).endswith("Model"):
        return family  # the decoder without a head
    if not all(isinstance(each, str) for each in architectures):
        what = f"architectures is {json.dumps(stated_architectures)}, not a list of names"
        raise ModelError(what, where=str(path), remedy=PUBLISHED)
    name = str(architectures[0]) if architectures else model_type
    if not model_type:
        lacks = "it states no model_type" if name else "it states neither model_type nor architectures"
        raise ModelError(lacks, where=str(path), remedy=PUBLISHED)
    if family is not None and any(each.architecture == name for each in FAMILIES.values()):
        what = f"architectures says {name!r}, and model_type {model_type!r}, whose models are {family.architecture!r}"
        raise ModelError(what, where=str(path), remedy=PUBLISHED)
    raise unknown_architecture(name, str(path), "" if family is not None else model_type, stated.get)


def _activation(keys: ConfigValues, family: Family) -> str:
    key = "hidden_activation" if "hidden_activation" in family.defaults else "hidden_act"
    if key not in family.defaults:
        return "silu"
    stated = keys.value(key)
    if not isinstance(stated, str):
        raise keys.fault(key, stated, "the name of an activation")
    if stated not in _ACTIVATIONS:
        raise keys.not_supported(f"{family.name} with {stated} activations is not supported")
    return _ACTIVATIONS[stated]


def _refuse_unsupported(keys: ConfigValues) -> None:
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


def _note_defaults(keys: ConfigValues, family: Family, notes: Notes) -> None:
    """What an earlier version took from Llama."""
    if family.name == "phi3" and not keys.states("rms_norm_eps"):
        notes.reading("rms_norm_eps of phi3")


def _end_tokens(keys: ConfigValues, directory: Path, notes: Notes) -> list[JsonValue]:
    """Those of `generation_config.json` if it states any, else those of `config.json`."""
    path = directory / "generation_config.json"
    generation = read_json_object(path) if path.is_file() else {}
    key = "eos_token_id"
    own, theirs = _tokens(key, keys.value(key), keys.path), _tokens(key, generation.get(key), path)
    if not theirs:
        if key in keys.stated or path.is_file():
            return _once(_tokens(key, keys.stated.get(key), keys.path))
        notes.reading("default eos_token_id")
        return own
    if key in keys.stated and set(map(str, own)) - set(map(str, theirs)):
        notes.tell(
            f"generation_config.json ends texts with {_listed(theirs)} instead of {_listed(own)} of config.json",
            reading="eos_token_id of generation_config.json",
        )
    return _once(theirs)


def _once(tokens: list[JsonValue]) -> list[JsonValue]:
    return [token for at, token in enumerate(tokens) if token not in tokens[:at]]


def _listed(tokens: list[JsonValue]) -> str:
    return ("token " if len(tokens) == 1 else "tokens ") + ", ".join(map(str, tokens))


def _tokens(key: str, value: JsonValue, path: Path) -> list[JsonValue]:
    """Some models write -1 for a token they do not have."""
    found = value if isinstance(value, list) else [value]
    tokens: list[JsonValue] = [token for token in found if token is not None and token != -1]
    if not all(isinstance(token, int) for token in tokens):
        remedy = f"use the {path.name} that was published with the model"
        raise ModelError(f"{key} is {json.dumps(value)}, not a token id", where=str(path), remedy=remedy)
    return tokens
