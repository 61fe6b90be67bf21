"""A quantized model whose scales and norms are tuned end to end, with the ranges it then has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.keys import digest
from qairt.model.parameters import Parameters
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding
from qairt.quant.measure.calibration import one_thread_each
from qairt.quant.precisions import linear_shapes
from qairt.quant.progress import Progress, within
from qairt.quant.quantize_model import QuantizationResult
from qairt.quant.structure import Structure
from qairt.quant.tune.distillation import ASIDE, AT_ONCE, distill

TUNED, MEASURED = 0.05, 0.9
"""Where in its progress the tuning begins, and the ranges are measured again."""

Chunk = NDArray[np.integer]


def text_to_tune_on(other_text: Callable[[int], Sequence[Chunk]], config: TechniqueConfig) -> Sequence[Chunk]:
    """As much as `config` can use.

    Args:
        other_text: gives up to so many chunks that are not calibrated on.

    Raises:
        QuantizationError: there is too little.
    """
    text = other_text(ASIDE + AT_ONCE * config.distillation_steps)
    if len(text) <= ASIDE:
        raise QuantizationError(
            f"beside the calibration text there are {len(text)} sequences to tune on, {ASIDE + 1} are needed",
            where="distillation_steps",
            remedy="give a longer calibration_text, or fewer calibration_chunks",
        )
    return text


def distill_model(
    parameters: Parameters,
    tokens: Sequence[Chunk],
    text: Sequence[Chunk],
    config: TechniqueConfig,
    result: QuantizationResult,
    quantize: Callable[..., QuantizationResult],
    *,
    folder: Path,
    progress: Progress,
    threads: int | None = None,
    device: str = "cpu",
) -> QuantizationResult:
    """`result`, tuned; unchanged where tuning did not help.

    Args:
        parameters: the float model's, rotated where `config` wants it.
        tokens: chunks that ranges are measured on.
        text: chunks to tune on, which the weights were not chosen on.
        quantize: `quantize_model` with what else it needs.
        folder: of its own; keeps what was done, and in the end the changed weights.
        threads: as many as torch is set to when None.
        device: as torch names it.
    """
    progress(0.0, "weights on their grids")
    encodings = {name: result.encodings.params[name] for name in linear_shapes(parameters.config)}
    before = parameters.changed_by(result.overlay)
    start = _write(folder / "start", encodings, encodings, before, {})
    quantized = parameters.changed_by(start)
    with one_thread_each(threads) as pool:
        found = distill(
            parameters,
            quantized,
            result.encodings.params,
            text,
            steps=config.distillation_steps,
            rate=config.distillation_rate,
            seed=config.seed,
            pool=pool,
            device=device,
            keep=folder / "steps.safetensors",
            work=digest([config.settings(), [chunk.tolist() for chunk in (*tokens, *text)]]),
            progress=within(progress, TUNED, MEASURED),
        )
    note = (
        f"tuned on {len(text) - ASIDE} sequences: {found.before:.4f} nats a token lost before, {found.after:.4f} after"
    )
    if not found.factors:
        return replace(result, notes=(*result.notes, f"{note}; left as it was"))
    tuned = {name: _times(encoding, found.factors[name]) for name, encoding in encodings.items()}
    weights = _write(folder / "weights", tuned, encodings, quantized, found.factors)
    measured = quantize(
        parameters.changed_by(weights),
        tokens,
        config,
        given=tuned,
        resume=folder / "ranges",
        progress=within(progress, MEASURED, 1.0, "ranges"),
    )
    return replace(
        measured,
        overlay=weights,
        reference=result.reference,
        exported=measured.reference,
        errors=result.errors,
        notes=(*result.notes, note),
    )


def _times(encoding: Encoding, factors: NDArray[np.float32]) -> Encoding:
    return replace(encoding, scale=np.asarray(encoding.scale * factors, np.float32))


def _write(
    folder: Path,
    encodings: Mapping[str, Encoding],
    integers: Mapping[str, Encoding],
    parameters: Parameters,
    factors: Mapping[str, NDArray[np.float32]],
) -> Path:
    """Linears with their integers in `integers` and the scales of `encodings`, and norms times their factors."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, encoding in encodings.items():
        np.save(folder / f"{name}.npy", encoding.dequantize(integers[name].quantize(parameters.read(name))))
    for name in Structure(parameters.config).norms:
        if name in factors:
            np.save(folder / f"{name}.npy", np.asarray(parameters.read(name) * factors[name], np.float32))
    return folder
