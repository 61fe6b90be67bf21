"""All that a technique file asks for: weights chosen, precisions chosen, scales tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qairt.model.parameters import Parameters
from qairt.quant.config import TechniqueConfig
from qairt.quant.progress import Progress, within
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.quant.tune.auto_precision import Increase, quantize_mixed
from qairt.quant.tune.distill_model import distill_model, text_to_tune_on

TUNED_FROM = 0.3
"""Of progress, where the scales of chosen weights are tuned."""

OtherText = Callable[[int], Sequence[NDArray[np.integer]]]
"""Up to so many chunks of text that is not calibrated on."""


def quantize(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    other_text: OtherText,
    technique: TechniqueConfig,
    increase: Increase,
    *,
    folder: Path,
    progress: Progress,
    threads: int | None = None,
    device: str = "cpu",
    mask_floor: float | None = None,
    act_bitwidth: int = 16,
    kv_bitwidth: int = 8,
) -> QuantizationResult:
    """Choose all encodings, and the weights that go with them.

    Args:
        parameters: rotated already where `technique` wants it.
        tokens: chunks of token ids to calibrate on, each one sequence.
        other_text: asked where scales are tuned.
        increase: asked where `auto_precision` has a limit: how much perplexity grew.
        folder: of its own: keeps what was done, so that the same call goes on after a kill with the same result; in the
            end the changed weights.
        progress: called with the fraction done and what is being done.
        threads: as many as torch is set to when None. The result does not depend on it.
        device: where it is computed, as torch names it.
        mask_floor, act_bitwidth, kv_bitwidth: see `qairt.quant.quantize_model`.

    Raises:
        QuantizationError: the technique does not fit the model or cannot keep to what it is asked for, tokens are
            outside the vocabulary, or the model computes NaN or infinity; names the tensor.
        ModelError: a weight cannot be read, or holds NaN or infinity.
    """
    text = text_to_tune_on(other_text, technique) if technique.distillation_steps else []
    tuned_from = TUNED_FROM if technique.distillation_steps else 1.0
    model = partial(
        quantize_model,
        mask_floor=mask_floor,
        act_bitwidth=act_bitwidth,
        kv_bitwidth=kv_bitwidth,
        threads=threads,
        device=device,
    )

    choosing = within(progress, 0.0, tuned_from)
    if technique.auto_precision is None:
        result = model(parameters, tokens, technique, resume=folder / "weights", progress=choosing)
    else:
        result = quantize_mixed(
            parameters, tokens, technique, model, increase, resume=folder, progress=choosing, threads=threads
        )
    if not text:
        return result
    return distill_model(
        parameters,
        tokens,
        text,
        technique,
        result,
        model,
        folder=folder / "distilled",
        progress=within(progress, tuned_from, 1.0),
        threads=threads,
        device=device,
    )
