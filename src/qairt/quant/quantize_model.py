"""Calibrate a decoder and choose an encoding for every tensor it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import local
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.keys import digest
from qairt.model.config import DecoderConfig
from qairt.model.layout import EMBEDDING
from qairt.model.parameters import Parameters
from qairt.quant.activations import ActivationSettings, activation_encodings
from qairt.quant.changed_weights import ChangedWeights
from qairt.quant.checkpoint import Checkpoint, Done
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.execution import Execution, Progress
from qairt.quant.lora import LoraCalibration, own_encodings
from qairt.quant.measure import mask
from qairt.quant.measure.calibration import Calibration
from qairt.quant.measure.calibration_texts import CalibrationTexts
from qairt.quant.measure.deferred import FLOAT, QUANTIZED, Segment
from qairt.quant.measure.energy import InputEnergy
from qairt.quant.measure.ranges import Ranges
from qairt.quant.measure.recorder import Recorder
from qairt.quant.measure.reference_vectors import ReferenceVectors
from qairt.quant.structure import Structure
from qairt.quant.threads import one_thread_each
from qairt.quant.weight_quantizer import WeightQuantizer

Floats = NDArray[np.float32]
_RANGES = "ranges."


@dataclass(frozen=True)
class QuantizationResult:
    """The output of `quantize_model`."""

    encodings: Encodings
    overlay: Mapping[str, Floats] | None
    """Weights that the technique changed, in the layout of `qairt.model.parameters`; None if it changed none."""
    reference: ReferenceVectors
    """Those of the original model."""
    exported: ReferenceVectors | None
    """Those of the model with the changed weights; None if none was changed."""
    adapted: ReferenceVectors | None
    """Those of the original model with the branches of the first concurrency; None without LoRA."""
    adapted_exported: ReferenceVectors | None
    """The same with the changed weights."""
    own_encodings: Mapping[str, Encodings]
    """By concurrency, the base among them; empty where they share all."""
    mask_floor: float
    """What the additive mask holds for masked positions."""
    errors: Mapping[str, float]
    """By linear, the share of its output's energy that rounding its weights costs; empty if the technique does not
    measure outputs."""
    notes: tuple[str, ...]
    """What a user should know: dead channels, a mask floor that is too high."""


class QuantizeModel(Protocol):
    """`quantize_model` with the activation settings already given."""

    def __call__(
        self,
        parameters: Parameters,
        tokens: Sequence[NDArray[np.integer]],
        technique: TechniqueConfig,
        *,
        fixed: Mapping[str, Encoding] | None = None,
        execution: Execution,
    ) -> QuantizationResult: ...


def quantize_model(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    technique: TechniqueConfig,
    *,
    activations: ActivationSettings = ActivationSettings(),  # noqa: B008 - frozen
    fixed: Mapping[str, Encoding] | None = None,
    lora: LoraCalibration | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> QuantizationResult:
    """Run text through the model, one block in memory at a time, and choose all encodings.

    Args:
        parameters: already rotated if `technique` rotates.
        tokens: chunks of token ids, each one sequence. The reference vectors come from the first.
        technique: how the layers' linears are quantized, and how ranges are measured.
        fixed: encodings of the layers' linears that are already chosen; the technique is not used for them.
        lora: LoRA branches with their calibration texts, which are read besides `tokens`.
        execution: its folder keeps finished blocks and the changed weights.

    Raises:
        QuantizationError: the technique does not fit the model, tokens are outside the vocabulary, or the model
            computes NaN or infinity; names the tensor.
        ModelError: a weight cannot be read, or holds NaN or infinity.
    """
    config, progress = parameters.config, execution.progress
    technique.check(config)
    checkpoint = None
    if execution.folder is not None:
        checkpoint = Checkpoint(execution.folder, _identity(parameters, tokens, technique, fixed, lora))
    with one_thread_each(execution.threads, execution.device) as pool:
        calibrated = _CalibratedModel(parameters, tokens, technique, fixed, lora, checkpoint, execution.device, pool)
        calibrated.run(progress)
    weights, ranges = calibrated.weights, calibrated.ranges
    floor, floor_notes = mask.mask_floor(config, activations.mask_floor, ranges.excess)
    notes = (*weights.notes, *floor_notes)
    for note in (*notes, "done"):
        progress(1.0, note)
    overlay: Mapping[str, Floats] | None = weights.changed or None
    if checkpoint is not None and any(checkpoint.weights.iterdir()):
        overlay = ChangedWeights(checkpoint.weights)

    def encodings_of(ranges: Ranges, branches: Mapping[str, Encoding]) -> dict[str, Encoding]:
        return activation_encodings(
            config,
            calibrated.structure,
            ranges,
            weights.encodings[EMBEDDING],
            mask_floor=floor,
            act_bitwidth=activations.act_bitwidth,
            kv_bitwidth=technique.module_precisions.kv_cache or activations.kv_bitwidth,
            branches=branches,
        )

    params = {name: weights.encodings[name] for name in parameters.names() if name in weights.encodings}
    encodings = Encodings(
        encodings_of(ranges, lora.input_encodings(activations.act_bitwidth) if lora is not None else {}),
        params | (lora.constant_encodings() if lora is not None else {}),
    )
    own = {}
    for name, (measured, branches) in calibrated.by_concurrency().items():
        assert lora is not None
        found = encodings_of(measured, lora.own_input_encodings(branches, activations.act_bitwidth))
        own[name] = own_encodings(encodings, found, calibrated.structure, lora.updatable)
    vectors = calibrated.vectors
    return QuantizationResult(
        encodings=encodings,
        overlay=overlay,
        reference=vectors[FLOAT, 0],
        exported=vectors.get((QUANTIZED, 0)),
        adapted=vectors.get((FLOAT, len(tokens))),
        adapted_exported=vectors.get((QUANTIZED, len(tokens))),
        own_encodings=own,
        mask_floor=floor,
        errors=weights.errors,
        notes=notes,
    )


class _CalibratedModel:
    """A decoder on its way through the calibration text, and what is measured and chosen."""

    def __init__(
        self,
        parameters: Parameters,
        tokens: Sequence[NDArray[np.integer]],
        technique: TechniqueConfig,
        fixed: Mapping[str, Encoding] | None,
        lora: LoraCalibration | None,
        checkpoint: Checkpoint | None,
        device: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._parameters = parameters
        self._checkpoint = checkpoint
        self.structure = Structure(parameters.config, lora.shape if lora is not None else None)
        self._texts = CalibrationTexts(parameters.config, tokens, lora, torch.device(device))
        self._ranges = [Ranges(self.structure, technique.activation_ranges) for _ in range(self._texts.measured_apart)]
        self._here = local()
        self._energy = InputEnergy(self.structure)
        self._calibration = Calibration(
            parameters,
            self._texts.chunks,
            self._tap,
            pool,
            begins_at=self._begins_at,
            device=torch.device(device),
            branches=self._texts.branches,
        )
        self._calibration.kept = self._texts.recorded
        self.weights = WeightQuantizer(technique, self.structure, self._energy, self._calibration, checkpoint, fixed)
        streams = (FLOAT, QUANTIZED) if self.weights.changes else (FLOAT,)
        self._recorders = {
            (stream, chunk): Recorder(self._calibration, stream, chunk)
            for stream in streams
            for chunk in self._texts.recorded
        }
        self.vectors: dict[tuple[int, int], ReferenceVectors] = {}
        """By stream and chunk, once `run` is done."""

    @cached_property
    def ranges(self) -> Ranges:
        """Over the base and all concurrencies, once `run` is done."""
        together, *others = self._ranges
        if others:
            together = Ranges(self.structure, together.settings)
            for ranges in self._ranges:
                together.merge(ranges)
        return together

    def by_concurrency(self) -> dict[str, tuple[Ranges, Mapping[str, Floats]]]:
        """The ranges of each that are measured apart, and the values of its branch inputs."""
        apart = self._texts.apart().items()
        return {name: (ranges, values) for (name, values), ranges in zip(apart, self._ranges, strict=False)}

    def run(self, progress: Progress) -> None:
        """Everything from the embedding to lm_head, except blocks that the checkpoint holds."""
        done = self._checkpoint.load() if self._checkpoint is not None else Done()
        config = self._parameters.config
        progress(0.0, "embedding")
        self._calibration.embed(self.weights.embedding.add)
        self.weights.finish_embedding()
        for recorder in self._recorders.values():
            recorder.after_embedding()
        if done.layers:
            self._restore(done)
        steps = config.num_layers + _head_cost(config)
        for layer in range(done.layers, config.num_layers):
            progress(layer / steps, f"layer {layer + 1} of {config.num_layers}")
            self._block(layer)
        progress(config.num_layers / steps, "lm_head" if config.pooling is None else "pooling")
        if config.pooling is not None:
            results = self._calibration.pooled(self._texts.recorded)
        else:
            kept = {chunk: self._recorders[FLOAT, chunk].logits for chunk in self._texts.recorded}
            results = self._calibration.head(self.weights.head.add, kept)
        self.weights.finish_head()
        self._calibration.release()
        for place, recorder in self._recorders.items():
            self.vectors[place] = recorder.vectors(results[place], self._texts.values(place[1]))

    def _block(self, layer: int) -> None:
        calibration, weights = self._calibration, self.weights
        before = calibration.quantized or calibration.hidden
        calibration.block(layer, weights.choose if weights.needs == "inputs" else None)
        if weights.learns:
            weights.learn(layer, before)
        encodings = weights.finish_block(self._parameters.layer_names(layer))
        self._energy.forget()
        recorded: dict[str, Tensor] = {}
        for recorder in self._recorders.values():
            recorded |= recorder.after_block(layer)
        if self._checkpoint is not None:
            state = _streams_state(calibration)
            for prefix, ranges in self._named_ranges():
                state |= _tensors(ranges.state(), prefix)
            self._checkpoint.save(encodings, recorded, state, errors=weights.errors, notes=weights.notes)

    def _restore(self, done: Done) -> None:
        calibration = self._calibration
        calibration.hidden, calibration.quantized = _streams(done.state, calibration.device)
        for prefix, ranges in self._named_ranges():
            ranges.restore(_numpy(done.state, prefix))
        self.weights.restore(done)
        for recorder in self._recorders.values():
            recorder.restore(done.tensors)

    def _named_ranges(self) -> Iterator[tuple[str, Ranges]]:
        for place, ranges in enumerate(self._ranges):
            yield _RANGES if not place else f"{place}.{_RANGES}", ranges

    def _begins_at(self, segment: Segment) -> None:
        self._here.ranges = self._ranges[self._texts.apart_at(segment.chunk)]
        self._here.ranges.begins_at(segment.start)

    def _tap(self, name: str, value: Tensor) -> None:
        ranges: Ranges = getattr(self._here, "ranges", self._ranges[0])  # the embedding comes before any segment
        ranges.tap(name, value)
        if self.weights.needs == "energy":
            self._energy.tap(name, value)


def _identity(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    technique: TechniqueConfig,
    fixed: Mapping[str, Encoding] | None,
    lora: LoraCalibration | None,
) -> str:
    """A digest of the work, so that a checkpoint of other work is not used."""
    scales = {name: encoding.scale.tolist() for name, encoding in (fixed or {}).items()}
    rotation = parameters.rotation.to_json() if parameters.rotation is not None else None
    chunks = [np.asarray(chunk, np.int64).tolist() for chunk in tokens]
    branches = [] if lora is None else [lora.identity()]
    return digest(
        [parameters.config.model_dump(mode="json"), technique.settings(), rotation, chunks, scales, *branches]
    )


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
    return config.vocab_size * config.hidden_size / (mlp + attention) if config.pooling is None else 0.1
