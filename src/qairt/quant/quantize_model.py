"""Calibrate a decoder and choose an encoding for every tensor it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.config import DecoderConfig
from qairt.model.decoder import hidden_name, present_names
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD
from qairt.model.parameters import Parameters
from qairt.quant import mask
from qairt.quant.activations import activation_encodings
from qairt.quant.calibration import Calibration, one_thread_each
from qairt.quant.config import ModulePrecisions, TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, Encoding, Encodings
from qairt.quant.energy import InputEnergy
from qairt.quant.ranges import Ranges
from qairt.quant.reference_vectors import LOGIT_VALUES, TOKENS, ReferenceVectors
from qairt.quant.structure import Structure
from qairt.quant.techniques import WeightTechnique, technique
from qairt.quant.techniques.minmax import largest_weight_encoding
from qairt.quant.weights import bias_encoding, embedding_encoding, norm_encoding

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class QuantizationResult:
    """What `quantize_model` found out."""

    encodings: Encodings
    overlay: Mapping[str, NDArray[np.float32]] | None
    """Weights that the technique changed, in the layout of `qairt.model.parameters`; None when it changed none."""
    reference: ReferenceVectors
    mask_floor: float
    """What the additive mask holds for a position that may not be seen."""
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
    progress: Progress = lambda fraction, message: None,
    threads: int | None = None,
) -> QuantizationResult:
    """Stream the float model over text, one block in memory at a time, and choose all encodings.

    Args:
        tokens: chunks of token ids, each one sequence. The reference vectors come from the first.
        technique_config: how the layers' linears are quantized.
        mask_floor: what the mask adds to scores that must not count; chosen when None, see `qairt.quant.mask`.
        act_bitwidth: 8 or 16, activations.
        kv_bitwidth: 8 or 16, keys and values.
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
    ranges, energy = Ranges(structure), InputEnergy(structure)
    chosen = technique(technique_config)

    def tap(name: str, value: Tensor) -> None:
        ranges.tap(name, value)
        if chosen.needs_energy:
            energy.tap(name, value)

    with one_thread_each(threads) as pool:
        calibration = Calibration(parameters, tokens, tap, pool)
        weights = _Weights(chosen, technique_config.module_precisions, structure, energy, pool)
        recorder = _Recorder(calibration, config)

        progress(0.0, "embedding")
        calibration.embed()
        weights.choose([EMBEDDING], calibration.weight)
        recorder.after_embedding()
        steps = config.num_layers + _head_cost(config)
        for layer in range(config.num_layers):
            progress(layer / steps, f"layer {layer + 1} of {config.num_layers}")
            calibration.block(layer)
            weights.choose(parameters.layer_names(layer), calibration.weight)
            energy.forget()
            recorder.after_block(layer)
        progress(config.num_layers / steps, "lm_head")
        calibration.head(recorder.logits)
        weights.choose([FINAL_NORM, LM_HEAD], calibration.weight)
        calibration.release()
    floor, floor_notes = mask.mask_floor(config, mask_floor, ranges.excess)
    activations = activation_encodings(
        config,
        structure,
        ranges,
        weights.encodings[EMBEDDING],
        mask_floor=floor,
        act_bitwidth=act_bitwidth,
        kv_bitwidth=kv_bitwidth,
    )
    notes = (*weights.notes, *floor_notes)
    for note in notes:
        progress(1.0, note)
    progress(1.0, "done")
    return QuantizationResult(Encodings(activations, weights.encodings), None, recorder.vectors(), floor, notes)


class _Weights:
    """Chooses the encoding of each weight by what it is."""

    def __init__(
        self,
        chosen: WeightTechnique,
        precisions: ModulePrecisions,
        structure: Structure,
        energy: InputEnergy,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._technique = chosen
        self._precisions = precisions
        self._energy = energy
        self._pool = pool
        self._norms = set(structure.norms)
        self.encodings: dict[str, Encoding] = {}
        self.notes: list[str] = []

    def choose(self, names: Sequence[str], weight: Callable[[str], Tensor]) -> None:
        chosen = self._pool.map(lambda name: self._encode(name, weight(name)), names)
        for name, encoding in zip(names, chosen, strict=True):
            self.encodings[name] = encoding
            dead = int((encoding.scale <= np.float32(SMALLEST_SCALE)).sum())
            if dead:
                self.notes.append(f"{name}: {dead} of {len(encoding.scale)} channels are dead (all weights zero)")

    def _encode(self, name: str, weight: Tensor) -> Encoding:
        if name == EMBEDDING:
            return embedding_encoding(weight, self._precisions.embedding)
        if name == LM_HEAD:
            return largest_weight_encoding(weight, self._precisions.lm_head)
        if name in self._norms:
            return norm_encoding(weight, self._precisions.rms_norm)
        if weight.ndim == 1:
            return bias_encoding(weight, self._precisions.bias)
        energy = self._energy.of(name) if self._technique.needs_energy else None
        return self._technique.encode(name, weight, energy)


class _Recorder:
    """Keeps what the first chunk's first tokens give in each block."""

    def __init__(self, calibration: Calibration, config: DecoderConfig) -> None:
        ids = calibration.chunks[0][:TOKENS]
        self._calibration = calibration
        self._tokens = len(ids)
        kept = min(max(LOGIT_VALUES // config.vocab_size, 1), self._tokens)
        self._first_logit = self._tokens - kept
        self._logits: list[Tensor] = []
        self._tensors: dict[str, NDArray[np.generic]] = {"input_ids": np.asarray(ids, np.int32)}

    def after_embedding(self) -> None:
        self._keep_hidden(0)

    def after_block(self, layer: int) -> None:
        self._keep_hidden(layer + 1)
        key, value = present_names(layer)
        self._tensors[key] = self._calibration.first_key[..., : self._tokens].contiguous().numpy()
        self._tensors[value] = self._calibration.first_value[:, :, : self._tokens].contiguous().numpy()

    def logits(self, position: int, logits: Tensor) -> None:
        start, stop = max(self._first_logit - position, 0), max(self._tokens - position, 0)
        self._logits.append(logits[:, start:stop].clone())

    def vectors(self) -> ReferenceVectors:
        return ReferenceVectors(self._tensors | {"logits": torch.cat(self._logits, 1).numpy()})

    def _keep_hidden(self, place: int) -> None:
        hidden = self._calibration.hidden[0][:, : self._tokens]
        self._tensors[hidden_name(place)] = hidden.contiguous().numpy()


def _head_cost(config: DecoderConfig) -> float:
    """The head's work, in layers."""
    mlp = 3 * config.hidden_size * config.intermediate_size
    attention = 2 * config.hidden_size * config.head_dim * (config.num_heads + config.num_kv_heads)
    return config.vocab_size * config.hidden_size / (mlp + attention)
