"""Calibrate a decoder and choose an encoding for every tensor it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.keys import digest
from qairt.model.config import DecoderConfig
from qairt.model.layout import EMBEDDING
from qairt.model.parameters import Parameters
from qairt.quant.activations import activation_encodings
from qairt.quant.checkpoint import Checkpoint, Done
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.measure import mask
from qairt.quant.measure.calibration import FLOAT, QUANTIZED, Calibration, one_thread_each
from qairt.quant.measure.energy import InputEnergy
from qairt.quant.measure.ranges import Ranges
from qairt.quant.measure.recorder import Recorder
from qairt.quant.measure.reference_vectors import ReferenceVectors
from qairt.quant.progress import Progress
from qairt.quant.structure import Structure
from qairt.quant.weight_choice import WeightChoice

Floats = NDArray[np.float32]
_RANGES = "ranges."


@dataclass(frozen=True)
class QuantizationResult:
    """What `quantize_model` found out."""

    encodings: Encodings
    overlay: Mapping[str, Floats] | Path | None
    """Weights that the technique changed, in the layout of `qairt.model.parameters`; None when it changed none."""
    reference: ReferenceVectors
    """Of the model as it was."""
    exported: ReferenceVectors | None
    """Of the model with the changed weights; None when none was changed."""
    mask_floor: float
    """What the additive mask holds for a position that may not be seen."""
    errors: Mapping[str, float]
    """Of each linear the share of its output's energy that its weights' rounding costs; empty where the technique did
    not look at outputs."""
    notes: tuple[str, ...]
    """What a user should know: dead channels, a mask floor that does not reach."""


def quantize_model(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    technique_config: TechniqueConfig,
    *,
    mask_floor: float | None = None,
    act_bitwidth: int = 16,
    kv_bitwidth: int = 8,
    resume: Path | None = None,
    device: str = "cpu",
    given: Mapping[str, Encoding] | None = None,
    progress: Progress = lambda fraction, message: None,
    threads: int | None = None,
) -> QuantizationResult:
    """Stream the model over text, one block in memory at a time, and choose all encodings.

    Args:
        parameters: rotated already where `technique_config` wants it.
        tokens: chunks of token ids, each one sequence. The reference vectors come from the first.
        technique_config: how the layers' linears are quantized, and how ranges are measured.
        mask_floor: what the mask adds to scores that must not count; chosen when None, see `qairt.quant.measure.mask`.
        act_bitwidth: 8 or 16, activations.
        kv_bitwidth: 8 or 16, keys and values; `module_precisions.kv_cache` goes before it.
        resume: a folder that keeps what was done block by block: after a kill, the same call goes on from there, and
            the result is the same. Changed weights stay there; without it they are in memory.
        device: where the layers are computed, as torch names it.
        given: encodings of the layers' linears that were chosen before; the technique is not asked again.
        progress: called with the fraction done and what is being done.
        threads: as many as torch is set to when None. The result does not depend on it.

    Raises:
        QuantizationError: the technique does not fit the model, tokens are outside the vocabulary, or the model
            computes NaN or infinity; names the tensor.
        ModelError: a weight cannot be read, or holds NaN or infinity.
    """
    config = parameters.config
    technique_config.check(config)
    structure = Structure(config)
    ranges, energy = Ranges(structure, technique_config.activation_ranges), InputEnergy(structure)
    precisions = technique_config.module_precisions
    checkpoint = (
        Checkpoint(resume, _identity(parameters, tokens, technique_config, given)) if resume is not None else None
    )
    done = checkpoint.load() if checkpoint is not None else Done()

    def tap(name: str, value: Tensor) -> None:
        ranges.tap(name, value)
        if weights.needs == "energy":
            energy.tap(name, value)

    with one_thread_each(threads) as pool:
        calibration = Calibration(
            parameters, tokens, tap, pool, begins_at=ranges.begins_at, device=torch.device(device)
        )
        weights = WeightChoice(technique_config, config, structure, energy, calibration, pool, checkpoint, given)
        recorders = {FLOAT: Recorder(calibration, config, FLOAT)}
        if weights.changes:
            recorders[QUANTIZED] = Recorder(calibration, config, QUANTIZED)

        progress(0.0, "embedding")
        calibration.embed(weights.embedding.look)
        weights.finish_embedding()
        for recorder in recorders.values():
            recorder.after_embedding()
        if done.layers:
            calibration.hidden, calibration.quantized = _streams(done.state, calibration.device)
            ranges.restore(_numpy(done.state, _RANGES))
            weights.restore(done)
            for recorder in recorders.values():
                recorder.restore(done.tensors)
        steps = config.num_layers + _head_cost(config)
        for layer in range(done.layers, config.num_layers):
            progress(layer / steps, f"layer {layer + 1} of {config.num_layers}")
            before = calibration.quantized or calibration.hidden
            calibration.block(layer, weights.choose if weights.needs == "inputs" else None)
            if weights.learns:
                weights.learn(layer, before)
            made = weights.finish_block(parameters.layer_names(layer))
            energy.forget()
            kept: dict[str, Tensor] = {}
            for recorder in recorders.values():
                kept |= recorder.after_block(layer)
            if checkpoint is not None:
                state = _streams_state(calibration) | _tensors(ranges.state(), _RANGES)
                checkpoint.save(made, kept, state, weights.facts())
        progress(config.num_layers / steps, "lm_head")
        logits = calibration.head(weights.head.look, recorders[FLOAT].logits)
        weights.finish_head()
        calibration.release()
    floor, floor_notes = mask.mask_floor(config, mask_floor, ranges.excess)
    activations = activation_encodings(
        config,
        structure,
        ranges,
        weights.encodings[EMBEDDING],
        mask_floor=floor,
        act_bitwidth=act_bitwidth,
        kv_bitwidth=precisions.kv_cache or kv_bitwidth,
    )
    notes = (*weights.notes, *floor_notes)
    for note in notes:
        progress(1.0, note)
    progress(1.0, "done")
    params = {name: weights.encodings[name] for name in parameters.names() if name in weights.encodings}
    overlay: Mapping[str, Floats] | Path | None = weights.changed or None
    if checkpoint is not None and any(checkpoint.weights.iterdir()):
        overlay = checkpoint.weights
    encodings = Encodings(activations, params)
    vectors = {stream: recorder.vectors(logits[stream]) for stream, recorder in recorders.items()}
    return QuantizationResult(encodings, overlay, vectors[FLOAT], vectors.get(QUANTIZED), floor, weights.errors, notes)


def _identity(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    config: TechniqueConfig,
    given: Mapping[str, Encoding] | None,
) -> str:
    """A digest of what is being done."""
    scales = {name: encoding.scale.tolist() for name, encoding in (given or {}).items()}
    rotation = parameters.rotation.to_json() if parameters.rotation is not None else None
    chunks = [np.asarray(chunk, np.int64).tolist() for chunk in tokens]
    return digest([parameters.config.model_dump(mode="json"), config.settings(), rotation, chunks, scales])


def _streams_state(calibration: Calibration) -> dict[str, Tensor]:
    hidden = {f"float.{place}": value.cpu() for place, value in enumerate(calibration.hidden)}
    return hidden | {f"quantized.{place}": value.cpu() for place, value in enumerate(calibration.quantized or [])}


def _streams(state: Mapping[str, Tensor], device: torch.device) -> tuple[list[Tensor], list[Tensor] | None]:
    floats, quantized = (
        [state[name].to(device) for name in _numbered(state, stream)] for stream in ("float", "quantized")
    )
    return floats, quantized or None


def _tensors(values: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: torch.from_numpy(np.array(value)) for name, value in values.items()}


def _numpy(values: Mapping[str, Tensor], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name.removeprefix(prefix): value.numpy() for name, value in values.items() if name.startswith(prefix)}


def _numbered(state: Mapping[str, Tensor], stream: str) -> list[str]:
    count = sum(name.startswith(f"{stream}.") for name in state)
    return [f"{stream}.{place}" for place in range(count)]


def _head_cost(config: DecoderConfig) -> float:
    """The head's work, in layers."""
    mlp = 3 * config.hidden_size * config.intermediate_size
    attention = 2 * config.hidden_size * config.head_dim * (config.num_heads + config.num_kv_heads)
    return config.vocab_size * config.hidden_size / (mlp + attention)
