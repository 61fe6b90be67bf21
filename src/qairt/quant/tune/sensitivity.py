"""Which linears get 8 bits, by the cost of each in 4.

1. The cost of a linear is that of its 4-bit weights at the model's output, in nats per token
   (`qairt.quant.tune.fisher`). With 8 bits it counts as zero: it is about a hundred times smaller.
2. Linears get 8 bits in the order of cost saved per byte added, while the budget lasts; one that no longer fits is
   skipped for smaller ones.
3. Perplexity: small costs add up, and `log(perplexity / float)` grows with their sum. The rate is interpolated between
   measured points, of which zero cost is one. The first point is all linears in 4 bits. Far from a point the prediction
   is too low (costs that happen to be measured too high are chosen first), so measure the choice, add it as a second
   point, and choose again.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qairt.errors import QuantizationError
from qairt.quant.config import AutoPrecision

COST_CHUNKS = 4
"""Chunks of calibration text that costs are measured on: enough to rank the linears."""
MB = 1_000_000
SCALE_BYTES = 4


@dataclass(frozen=True)
class LinearCost:
    """The cost of a linear in either width."""

    name: str
    error: float
    """Cost of 4 bits, >= 0."""
    bytes_4: int
    bytes_8: int


@dataclass(frozen=True)
class PerplexityPoint:
    """A measurement to predict perplexity from."""

    error: float
    """Sum of the costs of the linears in 4 bits."""
    increase: float
    """Perplexity over that of float weights, as a fraction."""


@dataclass(frozen=True)
class EightBitChoice:
    """Which linears get 8 bits, and the consequences."""

    eight_bits: tuple[str, ...]
    """Those that gain most per byte first."""
    bytes: int
    """Size of all weights."""
    error: float
    """Sum of the costs of the linears left in 4 bits."""
    increase: float | None
    """Predicted perplexity over that of float weights, as a fraction; None if the measured points allow no
    prediction."""


def linear_bytes(inputs: int, outputs: int, bits: int, block_size: int | None) -> int:
    """Bytes of a linear's weights and scales: one float per channel, and one byte per block."""
    blocks = inputs // block_size * outputs if block_size else 0
    return math.ceil(inputs * outputs * bits / 8) + blocks + SCALE_BYTES * outputs


def predicted_increase(points: Sequence[PerplexityPoint], error: float) -> float | None:
    """Perplexity over that of float weights, as a fraction; None if the points show no cost (rule 3)."""
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
    costs: Sequence[LinearCost], fixed_bytes: int, settings: AutoPrecision, points: Sequence[PerplexityPoint] = ()
) -> EightBitChoice:
    """The linears that get 8 bits.

    Args:
        costs: those of every linear of the decoder layers.
        fixed_bytes: size of all other weights.
        points: measured on the same costs; required for `max_ppl_increase`, otherwise for the prediction only.

    Raises:
        QuantizationError: a cost is not a number, the budget is too small for 4 bits, or `max_ppl_increase` is set and
            `points` allow no prediction.
    """
    for cost in costs:
        if not (math.isfinite(cost.error) and cost.error >= 0):
            raise QuantizationError(
                f"its cost with 4 bits is {cost.error}", where=cost.name, remedy="run quantization again"
            )
    size = fixed_bytes + sum(cost.bytes_4 for cost in costs)
    budget = None if settings.budget_mb is None else settings.budget_mb * MB
    if settings.max_size_increase is not None:
        budget = size * (1 + settings.max_size_increase)
    if settings.budget_mb is not None and size > settings.budget_mb * MB:
        raise QuantizationError(
            f"the weights do not fit {settings.budget_mb:g} MB: with every linear in 4 bits they take "
            f"{_megabytes_up(size)} MB",
            where="auto_precision.budget_mb",
            remedy=f"set it to at least {_megabytes_up(size)}",
        )
    if settings.max_ppl_increase is not None and predicted_increase(points, 0.0) is None:
        raise QuantizationError(
            "perplexity did not grow with 4-bit weights, so it cannot guide the choice",
            where="auto_precision.max_ppl_increase",
            remedy="use a longer calibration_text, or set budget_mb instead",
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
        if budget is not None and size + added > budget:
            continue
        chosen.append(cost.name)
        size += added
        del left[cost.name]
    error = math.fsum(left.values())
    return EightBitChoice(tuple(chosen), size, error, predicted_increase(points, error))


def _megabytes_up(size: int) -> str:
    return f"{math.ceil(size / MB * 10) / 10:g}"
