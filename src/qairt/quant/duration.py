"""How long quantization takes and how much it writes, before anything ran. Imports no torch."""

from __future__ import annotations

from qairt.quant.config import TechniqueConfig
from qairt.quant.tune.sensitivity import COST_CHUNKS

CHUNKS_PER_STEP = 2
"""Of learning and of distillation."""
_START = 5.0
_FORWARD = 3e-11
"""Seconds a parameter and token, with the ranges of all tensors."""
_COMPENSATION = 3e-10
"""Seconds a parameter and input of the residual stream: Gram matrices, error compensation."""
_TRAINING = 5e-11
"""Seconds a parameter and token, forward and backward."""


def seconds_of(technique: TechniqueConfig, *, parameters: int, hidden_size: int, chunks: int, length: int) -> float:
    """Seconds on two processor cores, measured with models of 40 M and 135 M parameters.

    Args:
        parameters: number of the model's weights.
        chunks: sequences of the calibration text.
        length: tokens in each.
    """
    rounds, trained = 1, technique.distillation_steps * CHUNKS_PER_STEP * length
    if technique.rounding == "learned":
        trained += technique.steps * CHUNKS_PER_STEP * length
    if technique.auto_precision is not None:
        trained += COST_CHUNKS * length
        rounds = 1 if technique.auto_precision.max_size_increase is not None else 2
    # Changed weights compute a second stream; tuned ones measure ranges again.
    passes = rounds * (1 + technique.changes_weights) + (technique.distillation_steps > 0)
    seconds = _START + parameters * (_FORWARD * passes * chunks * length + _TRAINING * trained)
    if technique.changes_weights:
        seconds += rounds * _COMPENSATION * parameters * hidden_size
    return seconds


def changed_bytes(technique: TechniqueConfig, weights: int) -> int:
    """Bytes of so many changed weights, see `qairt.quant.changed_weights`; while they are tuned, with their float32.

    Args:
        weights: of the linears of all layers.
    """
    if not technique.changes_weights:
        return 0
    return weights * technique.bits // 8 + weights // 32 + (4 * weights if technique.distillation_steps else 0)
