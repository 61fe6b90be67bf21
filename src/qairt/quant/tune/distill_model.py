"""Tunes the scales and norms of a quantized model end to end, then measures its ranges again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.keys import digest
from qairt.model.parameters import Parameters
from qairt.quant.changed_weights import ChangedWeights, keep_changed
from qairt.quant.checkpoint import VERSION
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding
from qairt.quant.execution import Execution, within
from qairt.quant.precisions import linear_shapes
from qairt.quant.quantize_model import QuantizationResult, QuantizeModel
from qairt.quant.structure import Structure
from qairt.quant.tune.distillation import HELD_OUT, distill
from qairt.quant.tune.training import CHUNKS_PER_STEP

TUNING_STARTS, MEASURING_STARTS = 0.05, 0.9
"""Where in the progress the scales are tuned, and the ranges are measured again."""

Chunk = NDArray[np.integer]
OtherText = Callable[[int], Sequence[Chunk]]
"""Returns up to so many chunks of text that is not calibrated on."""


def text_to_tune_on(other_text: OtherText, config: TechniqueConfig) -> Sequence[Chunk]:
    """As much as `config` can use.

    Raises:
        QuantizationError: there is too little.
    """
    text = other_text(HELD_OUT + CHUNKS_PER_STEP * config.distillation_steps)
    if len(text) <= HELD_OUT:
        raise QuantizationError(
            f"tuning needs {HELD_OUT + 1} sequences that are not calibrated on, the text has {len(text)}",
            where="distillation_steps",
            remedy="use a longer calibration_text, or fewer calibration_chunks",
        )
    return text


def distill_model(
    parameters: Parameters,
    tokens: Sequence[Chunk],
    text: Sequence[Chunk],
    config: TechniqueConfig,
    result: QuantizationResult,
    quantize: QuantizeModel,
    *,
    execution: Execution,
) -> QuantizationResult:
    """`result`, tuned; its encodings unchanged if tuning did not help.

    Args:
        parameters: those of the float model, already rotated if `config` rotates.
        tokens: chunks that ranges are measured on.
        text: chunks to tune on, which the weights were not chosen on.
        execution: has a folder, which keeps the steps done and in the end the changed weights.
    """
    folder, progress = execution.folder, execution.progress
    assert folder is not None
    progress(0.0, "rounding weights")
    encodings = {name: result.encodings.params[name] for name in linear_shapes(parameters.config)}
    chosen = parameters.changed_by(result.overlay)
    start = folder / "start"
    start.mkdir(parents=True, exist_ok=True)
    for name, encoding in encodings.items():  # float32: every step reads them
        np.save(start / f"{name}.npy", encoding.nearest(chosen.read(name)))
    quantized = parameters.changed_by(ChangedWeights(start))
    found = distill(
        parameters,
        quantized,
        result.encodings.params,
        text,
        config,
        work=digest([VERSION, config.settings(), [chunk.tolist() for chunk in (*tokens, *text)]]),
        execution=replace(execution, progress=within(progress, TUNING_STARTS, MEASURING_STARTS)),
    )
    note = (
        f"tuned on {len(text) - HELD_OUT} sequences: loss {found.before:.4f} nats/token before, {found.after:.4f} after"
    )
    if not found.factors:
        return replace(result, notes=(*result.notes, f"{note}; kept the untuned scales"))
    tuned = {name: _scaled(encoding, found.factors[name]) for name, encoding in encodings.items()}
    weights = _write_tuned(folder / "weights", tuned, encodings, quantized, found.factors)
    measured = quantize(
        parameters.changed_by(weights),
        tokens,
        config,
        fixed=tuned,
        execution=execution.part("ranges", MEASURING_STARTS, 1.0, "ranges"),
    )
    return replace(
        measured,
        overlay=weights,
        reference=result.reference,
        exported=measured.reference,
        adapted=result.adapted,
        adapted_exported=measured.adapted,
        errors=result.errors,
        notes=(*result.notes, note),
    )


def _scaled(encoding: Encoding, factors: NDArray[np.float32]) -> Encoding:
    return replace(encoding, scale=np.asarray(encoding.scale * factors, np.float32))


def _write_tuned(
    folder: Path,
    encodings: Mapping[str, Encoding],
    integers: Mapping[str, Encoding],
    parameters: Parameters,
    factors: Mapping[str, NDArray[np.float32]],
) -> ChangedWeights:
    """Write linears with their integers in `integers` and the scales of `encodings`, and norms times their factors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, encoding in encodings.items():
        values = encoding.dequantize(integers[name].quantize(parameters.read(name)))
        keep_changed(folder, name, values, encoding)
    for name in Structure(parameters.config).norms:
        if name in factors:
            np.save(folder / f"{name}.npy", np.asarray(parameters.read(name) * factors[name], np.float32))
    return ChangedWeights(folder)
