"""Rotary scaling settings of models, normalised to the form that `qairt.model.rope` computes from."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, log, sqrt

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.printable import as_written

_PUBLISHED = "use the config.json that was published with the model"
SUPPORTED = ("linear", "dynamic", "yarn", "llama3", "longrope")

_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": (),
}
_TRAINED_AT = "original_max_position_embeddings"
_TABLES = ("short_factor", "long_factor")
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")}
KNOWN_KEYS = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "original_max_position_embeddings",
        *_TABLES,
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
        ModelError: the type is not supported, or a setting is missing or not a number.

    Source: `transformers.modeling_rope_utils`.
    """
    try:
        return _normalised(dict(stated or {}), max_position_embeddings, where)
    except ValueError as error:
        raise ModelError(f"{key}.{error}", where=where, remedy=_PUBLISHED) from error


def _normalised(values: dict[str, JsonValue], max_position_embeddings: int, where: str) -> dict[str, JsonValue] | None:
    rope_type = values.get("rope_type") or values.get("type") or "default"
    if rope_type == "default":
        return None
    if not isinstance(rope_type, str) or rope_type not in SUPPORTED:
        raise ModelError(
            f"rotary scaling type {as_written(rope_type)} is not supported",
            where=where,
            remedy=f"supported: default, {', '.join(SUPPORTED)}",
        )
    stated = number(values, _TRAINED_AT, max_position_embeddings)
    trained_at = int(stated)
    if trained_at != stated or trained_at < 2:
        raise ValueError(f"{_TRAINED_AT} is {as_written(stated)}, not a whole number above 1")
    if rope_type == "dynamic":
        # Its frequencies follow from the longest context of the config, whatever else that says.
        trained_at = max_position_embeddings
    if rope_type == "yarn" and values.get("factor") is None:
        values["factor"] = max_position_embeddings / trained_at
    scaling: dict[str, JsonValue] = {"rope_type": rope_type, "original_max_position_embeddings": trained_at}
    tables = _TABLES if rope_type == "longrope" else ()
    for key in (*_REQUIRED[rope_type], *tables):
        if values.get(key) is None:
            raise ModelError(
                f"rotary scaling of type {rope_type!r} lacks {key!r}",
                where=where,
                remedy=_PUBLISHED,
            )
    for key in _REQUIRED[rope_type]:
        scaling[key] = float(number(values, key))
        if number(values, key) <= 0:
            raise ValueError(f"{key} is {as_written(values[key])}, not a positive number")
    if rope_type == "longrope":
        scaling |= _longrope(values, trained_at, max_position_embeddings)
    for key in _OPTIONAL.get(rope_type, ()):
        if values.get(key) is not None:
            scaling[key] = values[key] if key == "truncate" else number(values, key)
    return scaling


def _longrope(values: Mapping[str, JsonValue], trained_at: int, longest: int) -> dict[str, JsonValue]:
    """Both tables, and the factor on cosine and sine that follows from how far the context is extended."""
    found: dict[str, JsonValue] = {}
    for key in _TABLES:
        table = values.get(key)
        if not isinstance(table, list) or not table or not all(_is_number(each) and each for each in table):
            raise ValueError(f"{key} is {as_written(table)}, not a list of numbers other than 0")
        found[key] = table
    factor = number(values, "factor", longest / trained_at)
    usual = 1.0 if factor <= 1 else sqrt(1 + log(factor) / log(trained_at))
    return found | {"attention_factor": number(values, "attention_factor", usual)}


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def number(settings: Mapping[str, JsonValue], key: str, default: float | None = None) -> float:
    """A setting, or `default` if it is missing, null or zero.

    Raises:
        ValueError: it is not a number.
    """
    value = settings.get(key)
    if (value is None or (value == 0 and not isinstance(value, bool))) and default is not None:
        return default
    try:
        read = float(value) if isinstance(value, str) else value
    except ValueError:
        read = None
    if isinstance(read, bool) or not isinstance(read, int | float) or not isfinite(read):
        raise ValueError(f"{key} is {as_written(value)}, not a number")
    return read
