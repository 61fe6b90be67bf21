"""Rotary scaling settings as models state them, brought to one form that `qairt.model.rope` computes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qairt.errors import ModelError

SUPPORTED = ("linear", "dynamic", "yarn", "llama3")

_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate")}


def normalise_rope_scaling(
    stated: Mapping[str, Any] | None, *, max_position_embeddings: int, where: str
) -> dict[str, Any] | None:
    """Bring a `rope_scaling` (or `rope_parameters`) mapping to the form of `DecoderConfig.rope_scaling`.

    Args:
        stated: as in `config.json`; the older key `type` is read too.
        max_position_embeddings: stands in where the length the model was trained at is not stated.
        where: the file, for the error.

    Returns:
        `rope_type`, `factor`, `original_max_position_embeddings` and what else the type needs; None for plain rotary.

    Raises:
        ModelError: the type is not supported, a setting is missing, or only a part of each head is rotated.

    Source: `transformers.modeling_rope_utils`.
    """
    if not stated:
        return None
    if float(stated.get("partial_rotary_factor") or 1.0) != 1.0:
        raise ModelError(
            f"rotary embedding on a part of each head (partial_rotary_factor {stated['partial_rotary_factor']}) "
            "is not supported",
            where=where,
            remedy="use a model that rotates whole heads",
        )
    rope_type = stated.get("rope_type") or stated.get("type") or "default"
    if rope_type == "default":
        return None
    if rope_type not in SUPPORTED:
        raise ModelError(
            f"rotary scaling type {rope_type!r} is not supported",
            where=where,
            remedy=f"supported: default, {', '.join(SUPPORTED)}",
        )
    trained_at = int(stated.get("original_max_position_embeddings") or max_position_embeddings)
    if rope_type == "dynamic":
        # Its frequencies follow from the longest context the config states, whatever else it says.
        trained_at = max_position_embeddings
    values = dict(stated)
    if rope_type == "yarn" and values.get("factor") is None:
        values["factor"] = max_position_embeddings / trained_at
    scaling: dict[str, Any] = {"rope_type": rope_type, "original_max_position_embeddings": trained_at}
    for key in _REQUIRED[rope_type]:
        if values.get(key) is None:
            raise ModelError(
                f"rotary scaling of type {rope_type!r} lacks {key!r}",
                where=where,
                remedy="take the config.json that was published with the model",
            )
        scaling[key] = float(values[key])
    for key in _OPTIONAL.get(rope_type, ()):
        if values.get(key) is not None:
            scaling[key] = values[key]
    return scaling
