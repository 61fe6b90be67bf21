"""Everything a technique file specifies: choose weights, choose precisions, tune scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qairt.model.parameters import Parameters
from qairt.quant.activations import ActivationSettings
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding
from qairt.quant.execution import Execution
from qairt.quant.lora import LoraCalibration
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.quant.tune.auto_precision import PerplexityIncrease, quantize_mixed
from qairt.quant.tune.distill_model import OtherText, distill_model, text_to_tune_on

TUNING_STARTS = 0.3
"""Where in the progress the scales of the chosen weights are tuned."""


def apply_technique(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    other_text: OtherText,
    technique: TechniqueConfig,
    increase: PerplexityIncrease,
    *,
    activations: ActivationSettings = ActivationSettings(),  # noqa: B008 - frozen
    lora: LoraCalibration | None = None,
    execution: Execution,
) -> QuantizationResult:
    """Choose all encodings, and the weights that go with them.

    Args:
        parameters: already rotated if `technique` rotates.
        tokens: chunks of token ids to calibrate on, each one sequence.
        other_text: used if scales are tuned.
        lora: LoRA branches with their calibration texts.
        increase: used if `auto_precision` has a limit: measures how much perplexity grew.
        execution: its folder keeps finished steps, and in the end the changed weights.

    Raises:
        QuantizationError: the technique does not fit the model or cannot reach its target, tokens are outside the
            vocabulary, or the model computes NaN or infinity; names the tensor.
        ModelError: a weight cannot be read, or holds NaN or infinity.
    """

    def quantize(
        parameters: Parameters,
        tokens: Sequence[NDArray[np.integer]],
        technique: TechniqueConfig,
        *,
        fixed: Mapping[str, Encoding] | None = None,
        execution: Execution,
    ) -> QuantizationResult:
        return quantize_model(
            parameters, tokens, technique, activations=activations, fixed=fixed, lora=lora, execution=execution
        )

    text = text_to_tune_on(other_text, technique) if technique.distillation_steps else []
    tuning_starts = TUNING_STARTS if text else 1.0
    if technique.auto_precision is None:
        result = quantize(parameters, tokens, technique, execution=execution.part("weights", 0.0, tuning_starts))
    else:
        choosing = execution.part("", 0.0, tuning_starts)
        result = quantize_mixed(parameters, tokens, technique, quantize, increase, execution=choosing)
    if not text:
        return result
    tuning = execution.part("distilled", tuning_starts, 1.0)
    return distill_model(parameters, tokens, text, technique, result, quantize, execution=tuning)
