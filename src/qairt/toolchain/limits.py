"""What one binary may hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.graph.parts import Part

GRAPH_BYTES = 2_097_152 * 1024
"""One serialized graph."""
CONTEXT_BYTES = 3_750_000_000
"""One context; about, as the NPU's 32-bit address space leaves it."""


def require_parts_fit(parts: Sequence[Part], *, bits_per_weight: float = 8) -> None:
    """Refuse parts that the compiler would refuse after minutes of work.

    Args:
        parts: with their float32 bytes.
        bits_per_weight: what a weight takes once quantized.

    Raises:
        RecipeError: a part is over the limit of a graph or a context; says the `num_splits` that fits, if there is one.
    """
    share = bits_per_weight / 32
    limit = min(GRAPH_BYTES, CONTEXT_BYTES)
    too_large = [part for part in parts if part.weight_bytes * share > limit]
    if not too_large:
        return
    worst = max(too_large, key=lambda part: part.weight_bytes)
    fitting = _fitting_splits(parts, limit / share)
    raise RecipeError(
        f"part {worst.index} of {worst.of} would hold {worst.weight_bytes * share / 2**30:,.2f} GiB of weights at "
        f"{bits_per_weight:g} bits; one serialized graph may hold {limit / 2**30:g} GiB",
        where="stages.split_model.num_splits",
        remedy=f"set num_splits to {fitting} or more"
        if fitting is not None
        else "no num_splits is enough: the embedding, one layer or lm_head alone is too large; use fewer bits",
    )


def _fitting_splits(parts: Sequence[Part], limit: float) -> int | None:
    """The smallest `num_splits` whose parts hold at most `limit` float32 bytes, by the mean size of a layer."""
    embedding = max((part.weight_bytes for part in parts if part.has_embedding and part.of > 1), default=0)
    layers = sum(part.last_layer - part.first_layer for part in parts)
    middle = [part for part in parts if part.last_layer > part.first_layer and not part.has_head]
    body = sum(part.weight_bytes for part in parts if part.last_layer > part.first_layer)
    if middle:
        layer = sum(part.weight_bytes for part in middle) / sum(part.last_layer - part.first_layer for part in middle)
    else:
        layer = body / max(layers, 1)
    head = max(body - layer * layers, 0)
    if embedding > limit or layer > limit or layer + head > limit:
        return None
    per_part = int(limit // layer)
    last = int((limit - head) // layer)
    return 1 + 1 + math.ceil(max(layers - last, 0) / per_part)
