"""Which linears get 8 bits, by how much each one costs in 4.

1. The cost of a linear is what its 4-bit weights cost at the model's output, in nats per token
   (`qairt.quant.tune.fisher`). With 8 bits it is taken as none: it is some hundred times smaller.
2. Linears get 8 bits in the order of cost saved per byte added, while the budget holds; one that no longer fits is
   passed over for smaller ones.
3. To perplexity: small costs add up, and `log(perplexity / float)` grows with their sum. How fast is measured: it is a
   line between measured points, of which no cost is one. The first point is all linears in 4 bits. Far from a point the
   prediction is too low (what is chosen was partly chosen for measuring high), so measure the choice, give it as a
   second point, and choose again.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qairt.errors import QuantizationError
from qairt.quant.config import AutoPrecision

MB = 1_000_000
SCALE_BYTES = 4


@dataclass(frozen=True)
class LinearCost:
    """What a linear costs in either width."""

    name: str
    error: float
    """What 4 bits cost, >= 0."""
    bytes_4: int
    bytes_8: int


@dataclass(frozen=True)
class Measured:
    """A point to predict perplexity from."""

    error: float
    """Sum over the linears that had 4 bits."""
    increase: float
    """Perplexity over that of float weights, as a fraction."""


@dataclass(frozen=True)
class Choice:
    """Which linears get 8 bits, and what comes of it."""

    eight_bits: tuple[str, ...]
    """Those that gain most per byte first."""
    bytes: int
    """Of all weights."""
    error: float
    """Sum over the linears left at 4 bits."""
    increase: float | None
    """Predicted perplexity over that of float weights, as a fraction; None where no prediction follows from the points
    measured."""


def linear_bytes(inputs: int, outputs: int, bits: int, block_size: int | None) -> int:
    """Bytes of a linear's weights with their scales: one float a channel, and with blocks one byte a block."""
    blocks = inputs // block_size * outputs if block_size else 0
    return math.ceil(inputs * outputs * bits / 8) + blocks + SCALE_BYTES * outputs


def predicted_increase(points: Sequence[Measured], error: float) -> float | None:
    """Perplexity over that of float weights, as a fraction; None where the points show no cost (rule 3)."""
    lower = (0.0, 0.0)
    for point in sorted(points, key=lambda point: point.error):
        upper = (point.error, math.log1p(point.increase))
        if upper[0] > lower[0] and upper[1] > lower[1]:
            start, lower = lower, upper
            if error <= upper[0]:
                break
    if lower == (0.0, 0.0):
        return None
    slope = (lower[1] - start[1]) / (lower[0] - start[0])
    return math.expm1(start[1] + slope * (error - start[0]))


def choose_eight_bits(
    costs: Sequence[LinearCost], fixed_bytes: int, settings: AutoPrecision, points: Sequence[Measured] = ()
) -> Choice:
    """The linears that get 8 bits.

    Args:
        costs: of every linear of the decoder layers.
        fixed_bytes: all other weights.
        points: measured on the same costs; needed for `max_ppl_increase`, else for the prediction alone.

    Raises:
        QuantizationError: a cost is not a number, the budget is less than 4 bits take, or `max_ppl_increase` is asked
            for and no prediction follows from `points`.
    """
    for cost in costs:
        if not (math.isfinite(cost.error) and cost.error >= 0):
            raise QuantizationError(
                f"its cost with 4 bits is {cost.error}", where=cost.name, remedy="run quantization again"
            )
    size = fixed_bytes + sum(cost.bytes_4 for cost in costs)
    if settings.budget_mb is not None and size > settings.budget_mb * MB:
        raise QuantizationError(
            f"{settings.budget_mb:g} MB do not hold the weights: with every linear in 4 bits they take "
            f"{_megabytes_up(size)} MB",
            where="auto_precision.budget_mb",
            remedy=f"give at least {_megabytes_up(size)}",
        )
    if settings.max_ppl_increase is not None and predicted_increase(points, 0.0) is None:
        raise QuantizationError(
            "perplexity did not grow with 4-bit weights, so no precision follows from it",
            where="auto_precision.max_ppl_increase",
            remedy="measure on a longer text, or give budget_mb",
        )
    chosen: list[str] = []
    left = {cost.name: cost.error for cost in costs}
    for cost in sorted(costs, key=lambda cost: (-cost.error / max(cost.bytes_8 - cost.bytes_4, 1), cost.name)):
        error = math.fsum(left.values())
        if settings.max_ppl_increase is not None:
            increase = predicted_increase(points, error)
            if increase is not None and increase <= settings.max_ppl_increase:
                break
        added = cost.bytes_8 - cost.bytes_4
        if settings.budget_mb is not None and size + added > settings.budget_mb * MB:
            continue
        chosen.append(cost.name)
        size += added
        del left[cost.name]
    error = math.fsum(left.values())
    return Choice(tuple(chosen), size, error, predicted_increase(points, error))


def _megabytes_up(size: int) -> str:
    return f"{math.ceil(size / MB * 10) / 10:g}"
