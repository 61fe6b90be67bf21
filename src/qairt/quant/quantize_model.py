"""Calibrate a decoder and choose an encoding for every tensor it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.engine.keys import digest
from qairt.model.config import DecoderConfig
from qairt.model.decoder import hidden_name, present_names
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD
from qairt.model.parameters import Parameters
from qairt.quant import mask
from qairt.quant.activations import activation_encodings
from qairt.quant.calibration import FLOAT, QUANTIZED, Calibration, Inputs, one_thread_each
from qairt.quant.checkpoint import Checkpoint, Done
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, Encoding, Encodings
from qairt.quant.energy import InputEnergy
from qairt.quant.gram import Gram
from qairt.quant.precisions import linear_bits
from qairt.quant.ranges import Ranges
from qairt.quant.reference_vectors import LOGIT_VALUES, TOKENS, ReferenceVectors
from qairt.quant.simulate import rounded_weight
from qairt.quant.structure import Structure
from qairt.quant.techniques import Chosen, WeightTechnique, technique
from qairt.quant.techniques.learned import OnGrid, learn_rounding
from qairt.quant.techniques.minmax import largest_weight_encoding
from qairt.quant.weights import bias_encoding, embedding_encoding, norm_encoding

Floats = NDArray[np.float32]
_RANGES = "ranges."
Progress = Callable[[float, str], None]


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
    progress: Progress = lambda fraction, message: None,
    threads: int | None = None,
) -> QuantizationResult:
    """Stream the model over text, one block in memory at a time, and choose all encodings.

    Args:
        parameters: rotated already where `technique_config` wants it.
        tokens: chunks of token ids, each one sequence. The reference vectors come from the first.
        technique_config: how the layers' linears are quantized, and how ranges are measured.
        mask_floor: what the mask adds to scores that must not count; chosen when None, see `qairt.quant.mask`.
        act_bitwidth: 8 or 16, activations.
        kv_bitwidth: 8 or 16, keys and values; `module_precisions.kv_cache` goes before it.
        resume: a folder that keeps what was done block by block: after a kill, the same call goes on from there, and
            the result is the same. Changed weights stay there; without it they are in memory.
        device: where the layers are computed, as torch names it.
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
    checkpoint = Checkpoint(resume, _identity(parameters, tokens, technique_config)) if resume is not None else None
    done = checkpoint.load() if checkpoint is not None else Done()

    def tap(name: str, value: Tensor) -> None:
        ranges.tap(name, value)
        if weights.needs == "energy":
            energy.tap(name, value)

    with one_thread_each(threads) as pool:
        calibration = Calibration(
            parameters, tokens, tap, pool, begins_at=ranges.begins_at, device=torch.device(device)
        )
        weights = _Weights(technique_config, config, structure, energy, calibration, pool, checkpoint)
        recorders = {FLOAT: _Recorder(calibration, config, FLOAT)}
        if weights.changes:
            recorders[QUANTIZED] = _Recorder(calibration, config, QUANTIZED)

        progress(0.0, "embedding")
        calibration.embed()
        weights.choose_others([EMBEDDING])
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
            if technique_config.rounding == "learned":
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
        calibration.head({stream: recorder.logits for stream, recorder in recorders.items()})
        weights.choose_others([FINAL_NORM, LM_HEAD])
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
    exported = recorders[QUANTIZED].vectors() if weights.changes else None
    return QuantizationResult(encodings, overlay, recorders[FLOAT].vectors(), exported, floor, weights.errors, notes)


class _Weights:
    """Chooses the encoding of each weight by what it is."""

    def __init__(
        self,
        config: TechniqueConfig,
        decoder: DecoderConfig,
        structure: Structure,
        energy: InputEnergy,
        calibration: Calibration,
        pool: ThreadPoolExecutor,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._config = config
        self._techniques = {config.bits: technique(config), **_others(config)}
        self._bits = linear_bits(config.module_precisions, config.bits, decoder)
        self.needs = self._techniques[config.bits].needs
        self.changes = config.changes_weights
        """Weights are written as they were rounded: then all linears are, so that the quantized stream is what the
        exported graph computes."""
        self._precisions = config.module_precisions
        self._energy = energy
        self._calibration = calibration
        self._pool = pool
        self._checkpoint = checkpoint
        self._norms = set(structure.norms)
        self._inputs: Inputs | None = None
        self._gram: Gram | None = None
        self._here: dict[str, Encoding] = {}
        self._values: dict[str, Tensor] = {}
        """Changed weights of the block in work."""
        self._places: dict[str, OnGrid] = {}
        """Those of them that are learned further."""
        self.encodings: dict[str, Encoding] = {}
        self.changed: dict[str, Floats] = {}
        """What the technique changed, where there is no folder to keep it in."""
        self.errors: dict[str, float] = {}
        self.notes: list[str] = []

    def choose(self, name: str, inputs: Inputs) -> Tensor:
        """What the quantized stream goes on with, given what it brings to a linear."""
        if self._gram is None or self._inputs is None or not inputs.same_as(self._inputs):
            self._inputs, self._gram = inputs, None
            floats, quantized = inputs.read()
            self._gram = Gram(quantized, floats, self._pool)
        weight = self._calibration.weight(name)
        chosen = self._encode_linear(name, weight, None, self._gram)
        values = rounded_weight(weight, chosen.encoding) if chosen.values is None else chosen.values
        self.errors[name] = self._gram.error(weight, values)
        return values

    def learn(self, layer: int, before: Sequence[Tensor]) -> None:
        """Learn the rounding of the block that just ran, and let the quantized stream go on with it.

        Args:
            before: what entered it in the quantized stream.
        """
        calibration = self._calibration
        fixed = {name: value for name, value in self._values.items() if name not in self._places}
        values = learn_rounding(
            lambda hidden, weights: calibration.forward(layer, hidden, {**fixed, **weights})[0],
            [hidden.clone() for hidden in before],
            [hidden.clone() for hidden in calibration.hidden],
            self._places,
            steps=self._config.steps,
            seed=self._config.seed + layer,
            pool=self._pool,
        )
        calibration.go_on(layer, before, fixed | values)
        for name, value in values.items():
            self._keep(name, value)

    def finish_block(self, names: Sequence[str]) -> dict[str, Encoding]:
        """Choose what is left of a block's weights; returns all its encodings, by name."""
        self._inputs = self._gram = None
        self._values, self._places = {}, {}
        left = [name for name in names if name not in self._here]
        linears = [name for name in left if name in self._bits]
        list(self._pool.map(self._encode_alone, linears))
        self.choose_others([name for name in left if name not in self._bits])
        made = {name: self._here[name] for name in names}
        self._here = {}
        return made

    def choose_others(self, names: Sequence[str]) -> None:
        """Choose for weights that are no linear of a layer."""
        for name in names:
            self._add(name, self._encode_other(name, self._calibration.weight(name)))

    def facts(self) -> dict[str, object]:
        """What a later attempt cannot find out again."""
        return {"errors": self.errors, "notes": self.notes}

    def restore(self, done: Done) -> None:
        """What blocks done before gave."""
        self.encodings |= done.params
        self.errors, self.notes = dict(done.facts["errors"]), list(done.facts["notes"])

    def _encode_alone(self, name: str) -> None:
        weight = self._calibration.weight(name)
        needed = self._techniques[self._bits[name]].needs
        self._encode_linear(name, weight, self._energy.of(name) if needed == "energy" else None, None)

    def _encode_linear(self, name: str, weight: Tensor, energy: Tensor | None, gram: Gram | None) -> Chosen:
        chosen = self._techniques[self._bits[name]].choose(name, weight, energy=energy, gram=gram, pool=self._pool)
        self._add(name, chosen.encoding)
        if self.changes and chosen.values is None:
            chosen = Chosen(chosen.encoding, rounded_weight(weight, chosen.encoding))
        if chosen.values is not None:
            self._keep(name, chosen.values)
        if chosen.place is not None:
            self._places[name] = OnGrid(chosen.place.wanted.clone(), chosen.place.scale.clone())
        return chosen

    def _keep(self, name: str, changed: Tensor) -> None:
        self._values[name] = changed.clone()
        values = changed.cpu().numpy()
        if self._checkpoint is not None:
            self._checkpoint.keep_weight(name, values)
        else:
            self.changed[name] = values

    def _encode_other(self, name: str, weight: Tensor) -> Encoding:
        if name == EMBEDDING:
            return embedding_encoding(weight, self._precisions.embedding)
        if name == LM_HEAD:
            return largest_weight_encoding(weight, self._precisions.lm_head)
        if name in self._norms:
            return norm_encoding(weight, self._precisions.rms_norm)
        return bias_encoding(weight, self._precisions.bias)

    def _add(self, name: str, encoding: Encoding) -> None:
        self.encodings[name] = self._here[name] = encoding
        dead = int((encoding.scale <= np.float32(SMALLEST_SCALE)).sum())
        if dead:
            self.notes.append(f"{name}: {dead} of {len(encoding.scale)} channels are dead (all weights zero)")


class _Recorder:
    """Keeps what the first chunk's first tokens give in each block, in one stream."""

    def __init__(self, calibration: Calibration, config: DecoderConfig, stream: int) -> None:
        ids = calibration.chunks[0][:TOKENS]
        self._calibration = calibration
        self._stream = stream
        self._tokens = len(ids)
        kept = min(max(LOGIT_VALUES // config.vocab_size, 1), self._tokens)
        self._first_logit = self._tokens - kept
        self._logits: list[Tensor] = []
        self._tensors: dict[str, NDArray[np.generic]] = {"input_ids": np.asarray(ids, np.int32)}

    def after_embedding(self) -> None:
        self._keep_hidden(0)

    def after_block(self, layer: int) -> dict[str, Tensor]:
        """What is kept of it, by name."""
        key, value = present_names(layer)
        hidden = hidden_name(layer + 1)
        kept = {
            hidden: self._hidden()[:, : self._tokens],
            key: self._calibration.first[self._stream][0][..., : self._tokens],
            value: self._calibration.first[self._stream][1][:, :, : self._tokens],
        }
        named = {f"{self._prefix}{name}": value.cpu().contiguous() for name, value in kept.items()}
        self.restore(named)
        return named

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """What `after_block` gave; that of another stream is passed over."""
        for name, value in kept.items():
            if name.startswith(self._prefix):
                self._tensors[name.removeprefix(self._prefix)] = value.numpy()

    def logits(self, position: int, logits: Tensor) -> None:
        start, stop = max(self._first_logit - position, 0), max(self._tokens - position, 0)
        self._logits.append(logits[:, start:stop].cpu().clone())

    def vectors(self) -> ReferenceVectors:
        return ReferenceVectors(self._tensors | {"logits": torch.cat(self._logits, 1).numpy()})

    def _hidden(self) -> Tensor:
        streams = self._calibration
        return (streams.quantized or streams.hidden)[0] if self._stream == QUANTIZED else streams.hidden[0]

    @property
    def _prefix(self) -> str:
        return f"stream {self._stream} "

    def _keep_hidden(self, place: int) -> None:
        hidden = self._hidden()[:, : self._tokens]
        self._tensors[hidden_name(place)] = hidden.cpu().contiguous().numpy()


def _others(config: TechniqueConfig) -> dict[int, WeightTechnique]:
    """Techniques for the bits that only `module_precisions.custom` gives, by bits."""
    other = 8 if config.bits == 4 else 4
    if other not in config.module_precisions.custom.values():
        return {}
    return {other: technique(TechniqueConfig.model_validate({"technique": "minmax", "weight_bitwidth": other}))}


def _identity(parameters: Parameters, tokens: Sequence[NDArray[np.integer]], config: TechniqueConfig) -> str:
    """A digest of what is being done."""
    rotation = parameters.rotation.to_json() if parameters.rotation is not None else None
    chunks = [np.asarray(chunk, np.int64).tolist() for chunk in tokens]
    return digest([parameters.config.model_dump(mode="json"), config.settings(), rotation, chunks])


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
