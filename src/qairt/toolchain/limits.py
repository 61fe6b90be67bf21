"""Size limits of graphs and context binaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from qairt.amounts import size
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.model.parts import Part
    from qairt.quant.config import TechniqueConfig

GRAPH_BYTES = 2_097_152 * 1024
"""One serialized graph."""
CONTEXT_BYTES = 3_750_000_000
"""One context: about what fits the NPU's 32-bit address space."""


@dataclass(frozen=True)
class Ram:
    """What items may take together."""

    bytes: int
    is_of_run: bool
    """The run was given less than the machine has."""

    @classmethod
    def of(cls, machine: int, run: int | None) -> Ram:
        """
        Args:
            machine: bytes that it has.
            run: bytes that the run was given, if it was.
        """
        return cls(min(machine, run or machine), run is not None and run < machine)

    def __str__(self) -> str:
        held = size(self.bytes)
        return f"the {held} of RAM that the run may take" if self.is_of_run else f"this machine's {held} of RAM"


def part_limit() -> int:
    """Bytes of weights that a part may hold: it is one graph, in a context of its own."""
    return min(GRAPH_BYTES, CONTEXT_BYTES)


def bits_per_weight(technique: TechniqueConfig | None) -> int:
    """Average bits of a linear's weight in a context binary: a 4-bit weight with its share of the block scales, of some
    8-bit linears, and of what the compiler adds takes 4.9 for 576 x 1536."""
    return 5 if bits_of_layers(technique) == 4 else 8


def bits_of_layers(technique: TechniqueConfig | None) -> int:
    """Bits of most weights of the layers: 4 or 8."""
    return 4 if technique is not None and technique.needs_block_quantization else 8


_LEAST_BITS = 4
"""Of a weight in an external graph, whose encodings may be any."""


def least_bits_of_layers(technique: TechniqueConfig | None) -> int:
    """The fewest bits that a weight of the layers can have."""
    if technique is None:
        return _LEAST_BITS
    return min([technique.bits, *technique.module_precisions.custom.values()])


def least_bits_of_head(technique: TechniqueConfig | None) -> int:
    """The fewest bits that a weight of lm_head can have."""
    return _LEAST_BITS if technique is None else technique.module_precisions.lm_head


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

    def held(part: Part) -> float:
        return part.weight_bytes * bits_per_weight / 32

    worst = max(parts, key=held)
    if held(worst) <= part_limit():
        return
    if replan is None:
        remedy = "increase num_splits, or use fewer bits per weight"
    else:
        fitting = _smallest_fit(len(parts), replan, lambda others: max(map(held, others)) <= part_limit())
        remedy = (
            f"set num_splits to {fitting} or more"
            if fitting is not None
            else "no num_splits fits: the smallest part that can be made is too large; use fewer bits per weight"
        )
    raise RecipeError(
        f"part {worst.index} of {worst.of} would hold {held(worst) / 2**30:,.2f} GiB of weights at "
        f"{bits_per_weight:g} bits; the limit of one serialized graph is {part_limit() / 2**30:g} GiB",
        where="stages.split_model.num_splits",
        remedy=remedy,
    )


def fewest_splits(
    replan: Callable[[int], Sequence[Part]],
    *,
    bits_per_weight: float,
    peak_of: Callable[[Part], int],
    ram: Ram,
    least: int,
) -> tuple[int, str]:
    """The fewest parts of which each is one graph, and can be made in half of the RAM, so that two are made at a time;
    where layers are too large for that, as many as bring the peak down.

    Args:
        replan: returns the parts for a `num_splits`; raises RecipeError for too many.
        bits_per_weight: average size of a quantized weight.
        peak_of: returns the bytes of RAM that it takes to make a part.
        ram: that items may take.
        least: the number to begin with.

    Returns:
        The number, and why it is not one less.
    """
    why = "the parts need not be smaller"
    tried: list[tuple[int, int]] = []
    for number in count(least):
        try:
            parts = replan(number)
        except RecipeError:
            if not tried:
                raise
            break
        holds, peak = max(part.weight_bytes for part in parts) * bits_per_weight / 32, max(map(peak_of, parts))
        fits = holds <= part_limit()
        if fits and peak <= ram.bytes / 2:
            return number, why
        tried.append((peak, number))
        if fits:
            took = f"with {number}, one takes {size(peak)} to make"
            why = f"{took}, more than half of {ram}"
        else:
            held = f"with {number}, one would hold {size(holds)} of weights"
            why = f"{held}, more than the {size(part_limit())} of one graph"
    lowest, best = min(tried)
    half = f"no number of parts makes one in less than half of {ram}"
    return best, f"{half}: with {best}, the largest takes {size(lowest)}"


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
