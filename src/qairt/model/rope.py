"""Rotary position embedding: the cosine and sine inputs of a decoder. NumPy only; the runtime uses it too.

Source: `transformers.modeling_rope_utils`, computed in float32 in the same order, so that both agree up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from qairt.model.config import DecoderConfig
from qairt.model.inputs import rotaries
from qairt.model.rope_scaling import number

Floats = NDArray[np.float32]


def rotary_inputs(config: DecoderConfig, positions: ArrayLike, *, length: int | None = None) -> dict[str, Floats]:
    """Cosines and sines by the names of a decoder's inputs; arguments and shapes as `rotary`."""
    made: dict[str, Floats] = {}
    for names, is_local in rotaries(config).items():
        tables = rotary(local_config(config) if is_local else config, positions, length=length)
        made |= dict(zip(names, tables, strict=True))
    return made


def local_config(config: DecoderConfig) -> DecoderConfig:
    """The same with the rotary embedding of windowed layers as the only one."""
    own = config.local_rotary
    assert own is not None
    return config.model_copy(update={"rope_theta": own.theta, "rope_scaling": own.scaling})


def rotary(config: DecoderConfig, positions: ArrayLike, *, length: int | None = None) -> tuple[Floats, Floats]:
    """Cosine and sine of every position's angles, times the attention factor of the scaling (1 except for yarn).

    Args:
        config: gives the rotated width `D`, rope_theta and rope_scaling.
        positions: integers of any shape [...]; negative ones (padding) count as position 0.
        length: the context length that dynamic scaling adapts to; the largest position + 1 when None.

    Returns:
        cos, sin: [..., D / 2], float32.
    """
    places = np.maximum(np.asarray(positions, dtype=np.int64), 0)
    if length is None:
        length = int(places.max(initial=0)) + 1
    frequencies, factor = inverse_frequencies(config, length)
    angles = places[..., None].astype(np.float32) * frequencies
    return np.cos(angles) * np.float32(factor), np.sin(angles) * np.float32(factor)


def inverse_frequencies(config: DecoderConfig, length: int) -> tuple[Floats, float]:
    """Radians per position [D / 2] for a context of `length` tokens, and the factor on cosine and sine."""
    plain = plain_frequencies(config.rotated, config.rope_theta)
    scaling = config.rope_scaling
    if scaling is None:
        return plain, 1.0
    match scaling["rope_type"]:
        case "linear":
            return np.asarray(plain / np.float32(number(scaling, "factor")), np.float32), 1.0
        case "dynamic":
            return _dynamic(config, scaling, length), 1.0
        case "yarn":
            return _yarn(config, scaling)
        case "llama3":
            return np.asarray(plain / llama3_factors(plain, scaling), np.float32), 1.0
        case "longrope":
            return _longrope(plain, scaling, length)
        case "frequency_factors":
            return np.asarray(plain / np.asarray(scaling["factors"], np.float32), np.float32), 1.0
        case other:
            raise ValueError(f"unknown rope_type {other!r}; a DecoderConfig holds a normalised rope_scaling")


def plain_frequencies(head_dim: int, theta: float) -> Floats:
    """theta ^ (-2i / D) for i in 0 … D/2 - 1."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return np.asarray(np.float32(1.0) / np.float32(theta) ** exponents, np.float32)


def llama3_factors(plain: Floats, scaling: Mapping[str, JsonValue]) -> Floats:
    """Llama 3.1's divisor of each frequency: 1 for short waves, `factor` for long ones, a blend between."""
    factor, low, high = (np.float32(number(scaling, key)) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    trained_at = np.float32(number(scaling, "original_max_position_embeddings"))
    wavelength = np.float32(2 * math.pi) / plain
    smooth = (trained_at / wavelength - low) / (high - low)
    blended = np.float32(1) / ((np.float32(1) - smooth) / factor + smooth)
    factors = np.where(wavelength > trained_at / low, factor, blended)
    return np.asarray(np.where(wavelength < trained_at / high, np.float32(1), factors), np.float32)


def _dynamic(config: DecoderConfig, scaling: Mapping[str, JsonValue], length: int) -> Floats:
    """NTK scaling: the base grows with the context once that exceeds the training length."""
    trained_at, factor = (number(scaling, key) for key in ("original_max_position_embeddings", "factor"))
    dim = config.rotated
    stretch = factor * max(length, trained_at) / trained_at - (factor - 1)
    return plain_frequencies(dim, config.rope_theta * stretch ** (dim / (dim - 2)))


def takes_long_factors(scaling: Mapping[str, JsonValue], length: int) -> bool:
    """Whether longrope uses its long table at this context length."""
    return length > number(scaling, "original_max_position_embeddings")


def _longrope(plain: Floats, scaling: Mapping[str, JsonValue], length: int) -> tuple[Floats, float]:
    """A divisor for each frequency, from one table up to the training length and from another above it."""
    table = scaling["long_factor" if takes_long_factors(scaling, length) else "short_factor"]
    attention = number(scaling, "attention_factor")
    return np.asarray(plain / np.asarray(table, np.float32), np.float32), attention


def _yarn(config: DecoderConfig, scaling: Mapping[str, JsonValue]) -> tuple[Floats, float]:
    """Interpolate long waves, keep short ones, ramp between (https://arxiv.org/abs/2309.00071)."""
    dim, theta, factor = config.rotated, config.rope_theta, number(scaling, "factor")
    trained_at = number(scaling, "original_max_position_embeddings")

    def dimension(rotations: float) -> float:
        return dim * math.log(trained_at / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(number(scaling, "beta_fast", 32)), dimension(number(scaling, "beta_slow", 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    plain = plain_frequencies(dim, theta)
    frequencies = plain / np.float32(factor) * ramp + plain * (1 - ramp)
    return np.asarray(frequencies, np.float32), _yarn_attention_factor(scaling)


def _yarn_attention_factor(scaling: Mapping[str, JsonValue]) -> float:
    factor = number(scaling, "factor")

    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if scaling.get("attention_factor") is not None:
        return float(number(scaling, "attention_factor"))
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return mscale(number(scaling, "mscale")) / mscale(number(scaling, "mscale_all_dim"))
    return mscale(1.0)
