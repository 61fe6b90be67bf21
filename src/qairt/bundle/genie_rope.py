"""A model's rotary embedding as Genie's `positional-encoding`.

Each form was compared with the table that Genie 1.21 computes from it: they agree to one step of 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.rope import inverse_frequencies, plain_frequencies
from qairt.model.rope_scaling import number

_UNSUPPORTED = "Genie does not support it; `qairt export RECIPE DIR --format ort` computes it on the device"


def positional_encoding(config: DecoderConfig, *, context_size: int) -> dict[str, object]:
    """The value of `engine.model.positional-encoding`.

    Args:
        config: the model; with plain rotary, `rope-scaling` is left out.
        context_size: the length that dynamic scaling adapts to.

    Raises:
        ModelError: Genie does not support the model's scaling.
    """
    encoding: dict[str, object] = {
        "type": "rope",
        "rope-dim": config.rotated // 2,
        "rope-theta": float(config.rope_theta),
    }
    scaling = config.rope_scaling
    if scaling is None:
        return encoding
    match scaling["rope_type"]:
        case "linear":
            fields: dict[str, object] = {"rope-type": "linear", "factor": scaling["factor"]}
        case "llama3":
            fields = {
                "rope-type": "llama3",
                "factor": scaling["factor"],
                "low-freq-factor": scaling["low_freq_factor"],
                "high-freq-factor": scaling["high_freq_factor"],
                "original-max-position-embeddings": scaling["original_max_position_embeddings"],
            }
        case "yarn":
            fields = _yarn(config, scaling)
        case "longrope":
            fields = _longrope(config, scaling, context_size)
        case "dynamic" | "frequency_factors":
            fields = _frequency_factors(config, context_size)
        case other:
            raise ModelError(f"rotary scaling of type {other!r}", where="rope_scaling", remedy=_UNSUPPORTED)
    return encoding | {"rope-scaling": fields}


def _yarn(config: DecoderConfig, scaling: Mapping[str, JsonValue]) -> dict[str, object]:
    if not scaling.get("truncate", True):
        raise ModelError(
            "yarn rotary scaling without rounded limits (truncate: false)",
            where="rope_scaling.truncate",
            remedy=_UNSUPPORTED,
        )
    _, attention = inverse_frequencies(config, 1)
    return {
        "rope-type": "yarnrope",
        "factor": scaling["factor"],
        "original-max-position-embeddings": scaling["original_max_position_embeddings"],
        "dim": config.rotated,
        "extrapolation-factor": 1.0,
        # Genie multiplies yarn's usual attention factor by this one
        "attn-factor": attention / (0.1 * math.log(number(scaling, "factor")) + 1.0),
        "beta-fast": scaling.get("beta_fast") or 32,
        "beta-slow": scaling.get("beta_slow") or 1,
    }


def _longrope(config: DecoderConfig, scaling: Mapping[str, JsonValue], context_size: int) -> dict[str, object]:
    """The table that this context length takes, twice. Genie computes the factor on cosine and sine from `factor`:
    sqrt(1 + ln factor / ln original length)."""
    trained_at, attention = number(scaling, "original_max_position_embeddings"), number(scaling, "attention_factor")
    return {
        **_frequency_factors(config, context_size),
        "factor": trained_at ** (attention**2 - 1),
        "original-max-position-embeddings": int(trained_at),
    }


def _frequency_factors(config: DecoderConfig, context_size: int) -> dict[str, object]:
    """`longrope` divides each plain frequency by its own factor; with `factor` 1 it does nothing else."""
    frequencies, _ = inverse_frequencies(config, context_size)
    factors = [float(factor) for factor in plain_frequencies(config.rotated, config.rope_theta) / frequencies]
    return {
        "rope-type": "longrope",
        "factor": 1.0,
        "short-factor": factors,
        "long-factor": factors,
        "original-max-position-embeddings": context_size,
    }
