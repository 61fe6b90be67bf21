"""Size limits of graphs and context binaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.model.parts import Part
    from qairt.quant.config import TechniqueConfig

GRAPH_BYTES = 2_097_152 * 1024
"""One serialized graph."""
CONTEXT_BYTES = 3_750_000_000
"""One context: about what fits the NPU's 32-bit address space."""


def bits_per_weight(technique: TechniqueConfig | None) -> int:
    """Average bits of a linear's weight in a context binary: a 4-bit weight with its share of the block scales, of some
    8-bit linears, and of what the compiler adds takes 4.9 for 576 x 1536."""
    return 5 if technique is not None and technique.needs_block_quantization else 8


def require_parts_fit(
    parts: Sequence[Part], *, bits_per_weight: float = 8, replan: Callable[[int], Sequence[Part]] | None = None
) -> None:
    """Reject parts that the compiler would reject after minutes of work.

    Args:
        parts: their sizes are float32 bytes.
        bits_per_weight: average size of a quantized weight.
        replan: returns the parts for another `num_splits` (raises RecipeError for too many); used to suggest a number
            that fits.

    Raises:
        RecipeError: a part exceeds the limit of a graph or a context.
    """
    limit = min(GRAPH_BYTES, CONTEXT_BYTES)

    def size(part: Part) -> float:
        return part.weight_bytes * bits_per_weight / 32

    worst = max(parts, key=size)
    if size(worst) <= limit:
        return
    if replan is None:
        remedy = "increase num_splits, or use fewer bits per weight"
    else:
        fitting = _smallest_fit(len(parts), replan, lambda others: max(map(size, others)) <= limit)
        remedy = (
            f"set num_splits to {fitting} or more"
            if fitting is not None
            else "no num_splits fits: the embedding, one layer or lm_head alone is too large; use fewer bits per weight"
        )
    raise RecipeError(
        f"part {worst.index} of {worst.of} would hold {size(worst) / 2**30:,.2f} GiB of weights at "
        f"{bits_per_weight:g} bits; the limit of one serialized graph is {limit / 2**30:g} GiB",
        where="stages.split_model.num_splits",
        remedy=remedy,
    )


def _smallest_fit(
    current: int, replan: Callable[[int], Sequence[Part]], fits: Callable[[Sequence[Part]], bool]
) -> int | None:
    """The smallest `num_splits` above `current` that fits; None when there are not enough layers."""
    splits = current + 1
    while True:
        try:
            if fits(replan(splits)):
                return splits
        except RecipeError:
            return None
        splits += 1
