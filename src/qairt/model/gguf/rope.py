"""Rotary scaling in a GGUF header, read as llama.cpp reads it.

1. Without `rope.scaling.type` it is linear; without a factor nothing is scaled.
2. `rope.scale_linear` is an old name of `rope.scaling.factor`.
3. `rope.scaling.attn_factor` multiplies cosine and sine, on top of what yarn does.
4. A table of divisors in `rope_freqs.weight` is Llama 3's scaling.

Source: `llama-model.cpp` and `llama-context.cpp` of llama.cpp.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.gguf.fields import GgufFields
from qairt.model.gguf.file import GgufHeader
from qairt.model.notes import Notes
from qairt.model.rope_scaling import normalise_rope_scaling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_YARN = {
    "original_max_position_embeddings": "rope.scaling.original_context_length",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
}
_REMEDY = "use the Hugging Face model that it was converted from"


def gguf_rope_scaling(
    header: GgufHeader, fields: GgufFields, dim: int, trained_at: int, notes: Notes
) -> dict[str, JsonValue] | None:
    """The scaling in the form of `DecoderConfig.rope_scaling`; None for plain rotary.

    Args:
        dim: width of a head.
        trained_at: the context length of the header.

    Raises:
        ModelError: a kind, or a combination of settings, that is not supported.
    """
    where = str(header.path)
    kind = fields.get("rope.scaling.type") or "linear"
    factor = _factor(fields)
    if kind == "linear" and fields.get("rope.scaling.type") is None and factor != 1:
        notes.reading("linear rope scaling without a type")
    if kind == "none" or (kind == "linear" and factor == 1):
        kind, factor = "none", 1.0
    attention = fields.real("rope.scaling.attn_factor", 1.0)
    if "rope_factors_long.weight" in header.tensors:
        return _longrope(header, fields, trained_at)
    table = "rope_freqs.weight" in header.tensors
    if attention != 1 and (kind != "yarn" or table):
        raise ModelError(
            f"rope.scaling.attn_factor is {attention:g} without yarn, which is not supported",
            where=where,
            remedy=_REMEDY,
        )
    if table and kind != "none":
        raise ModelError(
            f"rotary scaling of type {kind!r} on top of a table of divisors (rope_freqs.weight) is not supported",
            where=where,
            remedy=_REMEDY,
        )
    if table:
        return _frequency_factors(header, dim, fields.real("rope.freq_base", 10000.0))
    if kind == "none":
        return None
    stated: dict[str, JsonValue] = {"rope_type": kind, "factor": factor}
    stated |= {name: fields.get(key) for name, key in _YARN.items()}
    if attention != 1:
        stated["attention_factor"] = attention * (1 + 0.1 * math.log(factor) if factor > 1 else 1)
        notes.reading("rope.scaling.attn_factor")
    return normalise_rope_scaling(stated, max_position_embeddings=trained_at, where=where, key="rope.scaling")


def _longrope(header: GgufHeader, fields: GgufFields, trained_at: int) -> dict[str, JsonValue] | None:
    """Two tables of divisors; the factor on cosine and sine is stored, as 1 where it is 1."""
    stated: dict[str, JsonValue] = {
        "rope_type": "longrope",
        "original_max_position_embeddings": fields.get("rope.scaling.original_context_length"),
        "attention_factor": fields.real("rope.scaling.attn_factor", 1.0),
    }
    for kind in ("long", "short"):
        stated[f"{kind}_factor"] = [float(value) for value in _table(header, f"rope_factors_{kind}.weight")]
    return normalise_rope_scaling(
        stated, max_position_embeddings=trained_at, where=str(header.path), key="rope.scaling"
    )


def _table(header: GgufHeader, name: str) -> NDArray[np.float32]:
    import numpy as np

    if name not in header.tensors:
        raise ModelError(f"the tensor {name} is missing", where=str(header.path), remedy=_REMEDY)
    tensor = header.tensors[name]
    return np.fromfile(header.path, "<f4", tensor.nbytes // 4, offset=tensor.offset)


def _factor(fields: GgufFields) -> float:
    key = "rope.scaling.factor" if fields.get("rope.scaling.factor") is not None else "rope.scale_linear"
    return fields.real(key, 1.0) or 1.0


def _frequency_factors(header: GgufHeader, dim: int, theta: float) -> dict[str, JsonValue]:
    """llama.cpp stores Llama 3's scaling as a table of divisors. Runtimes need its parameters: find them, and keep the
    table only if the published parameters do not reproduce it."""
    import numpy as np

    from qairt.model.rope import llama3_factors, plain_frequencies

    factors = _table(header, "rope_freqs.weight")
    llama3: dict[str, JsonValue] = {
        "rope_type": "llama3",
        "original_max_position_embeddings": 8192,
        "factor": round(float(factors.max()), 4),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    if np.allclose(llama3_factors(plain_frequencies(dim, theta), llama3), factors, rtol=1e-4):
        return llama3
    return {"rope_type": "frequency_factors", "factors": [float(value) for value in factors]}
