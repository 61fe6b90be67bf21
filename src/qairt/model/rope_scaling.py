"""Rotary scaling settings of models, normalised to the form that `qairt.model.rope` computes from."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from pydantic import JsonValue

from qairt.errors import ModelError

_PUBLISHED = "use the config.json that was published with the model"
SUPPORTED = ("linear", "dynamic", "yarn", "llama3")

_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")}
KNOWN_KEYS = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "original_max_position_embeddings",
        "short_factor",
        "long_factor",
        *(key for keys in (*_REQUIRED.values(), *_OPTIONAL.values()) for key in keys),
    }
)
"""All that transformers reads from such a mapping."""


def normalise_rope_scaling(
    stated: Mapping[str, JsonValue] | None, *, max_position_embeddings: int, where: str, key: str = "rope scaling"
) -> dict[str, JsonValue] | None:
    """Normalise a `rope_scaling` (or `rope_parameters`) mapping to the form of `DecoderConfig.rope_scaling`.

    Args:
        stated: as in `config.json`; the older key `type` is read too.
        max_position_embeddings: the training length if `stated` has none.
        where: the file, for errors.
        key: the name of the mapping in that file.

    Returns:
        `rope_type`, `factor`, `original_max_position_embeddings` and the type's other settings; None for plain rotary.

    Raises:
        ModelError: the type is not supported, a setting is missing or not a number, or only a part of each head is
            rotated.

    Source: `transformers.modeling_rope_utils`.
    """
    try:
        return _normalised(dict(stated or {}), max_position_embeddings, where)
    except ValueError as error:
        raise ModelError(f"{key}.{error}", where=where, remedy=_PUBLISHED) from error


def _normalised(values: dict[str, JsonValue], max_position_embeddings: int, where: str) -> dict[str, JsonValue] | None:
    if number(values, "partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(
            f"rotary embedding on a part of each head (partial_rotary_factor {values['partial_rotary_factor']}) "
            "is not supported",
            where=where,
            remedy="use a model that rotates whole heads",
        )
    rope_type = values.get("rope_type") or values.get("type") or "default"
    if rope_type == "default":
        return None
    if not isinstance(rope_type, str) or rope_type not in SUPPORTED:
        raise ModelError(
            f"rotary scaling type {rope_type!r} is not supported",
            where=where,
            remedy=f"supported: default, {', '.join(SUPPORTED)}",
        )
    trained_at = int(number(values, "original_max_position_embeddings", max_position_embeddings))
    if rope_type == "dynamic":
        # Its frequencies follow from the longest context of the config, whatever else that says.
        trained_at = max_position_embeddings
    if rope_type == "yarn" and values.get("factor") is None:
        values["factor"] = max_position_embeddings / trained_at
    scaling: dict[str, JsonValue] = {"rope_type": rope_type, "original_max_position_embeddings": trained_at}
    for key in _REQUIRED[rope_type]:
        if values.get(key) is None:
            raise ModelError(
                f"rotary scaling of type {rope_type!r} lacks {key!r}",
                where=where,
                remedy=_PUBLISHED,
            )
        scaling[key] = float(number(values, key))
        if number(values, key) <= 0:
            raise ValueError(f"{key} is {values[key]!r}, not a positive number")
    for key in _OPTIONAL.get(rope_type, ()):
        if values.get(key) is not None:
            scaling[key] = values[key] if key == "truncate" else number(values, key)
    return scaling


def number(settings: Mapping[str, JsonValue], key: str, default: float | None = None) -> float:
    """A setting, or `default` if it is missing, null or zero.

    Raises:
        ValueError: it is not a number.
    """
    value = settings.get(key)
    if not value and default is not None:
        return default
    try:
        read = float(value) if isinstance(value, str) else value
    except ValueError:
        read = None
    if isinstance(read, bool) or not isinstance(read, int | float) or not isfinite(read):
        raise ValueError(f"{key} is {value!r}, not a number")
    return read
