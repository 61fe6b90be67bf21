"""Chooses the encoding of each weight while calibration text goes through the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model.layout import EMBEDDING, LM_HEAD, has_lm_head, head_names, stacked_axis
from qairt.model.names import split_expert
from qairt.model.torch_ops import shared
from qairt.quant.checkpoint import Checkpoint, Done
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, Encoding
from qairt.quant.free_memory import release_free_memory
from qairt.quant.measure.calibration import Calibration
from qairt.quant.measure.energy import InputEnergy
from qairt.quant.measure.gram import Gram
from qairt.quant.measure.lockstep import LinearInputs
from qairt.quant.precisions import linear_bits
from qairt.quant.structure import Structure
from qairt.quant.techniques import technique
from qairt.quant.techniques.base import Needs, WeightChoice, WeightTechnique
from qairt.quant.techniques.learned import OnGrid, learn_rounding
from qairt.quant.techniques.minmax import MinMax, largest_weight_encoding
from qairt.quant.weight_grid import rounded_weight
from qairt.quant.weights import EmbeddingSearch, HeadSearch, bias_encoding, norm_encoding

Floats = NDArray[np.float32]


class WeightQuantizer:
    """Chooses the encoding of each weight by its role: linears by technique, the others by fixed rules."""

    def __init__(
        self,
        config: TechniqueConfig,
        structure: Structure,
        energy: InputEnergy,
        calibration: Calibration,
        checkpoint: Checkpoint | None,
        fixed: Mapping[str, Encoding] | None,
    ) -> None:
        """
        Args:
            fixed: encodings of linears that are already chosen.
        """
        self._config = config
        self._fixed = fixed
        self._bits = linear_bits(config.module_precisions, config.bits, calibration.config)
        self._techniques = {config.bits: technique(config), **_others(config, self._bits)}
        self.needs: Needs = self._techniques[config.bits].needs if fixed is None else "weights"
        self.changes = config.changes_weights and fixed is None
        """The technique changes weights: then all linears are written as rounded, so that the quantized stream is what
        the exported graph computes."""
        self.learns = config.rounding == "learned" and fixed is None
        """The weights of a block are learned together after it ran."""
        self._precisions = config.module_precisions
        self._energy = energy
        self._calibration = calibration
        self._pool = calibration.pool
        self._checkpoint = checkpoint
        self._norms = set(structure.norms)
        self.embedding = EmbeddingSearch(calibration.config.vocab_size)
        self.head = HeadSearch(config.module_precisions.lm_head)
        """Both get their weights a slice of the vocabulary at a time."""
        self._inputs: LinearInputs | None = None
        self._gram: Gram | None = None
        self._in_block: dict[str, Encoding] = {}
        """Encodings of the current block."""
        self._of_experts: dict[str, Encoding] = {}
        """Those of its single experts."""
        self._shared: dict[str, Tensor] = {}
        """Scales of channels that all experts of a wide linear share."""
        self._values: dict[str, Tensor] = {}
        """Changed weights of the current block."""
        self._learnable: dict[str, OnGrid] = {}
        """Those of them that are learned further."""
        self.encodings: dict[str, Encoding] = {}
        self.changed: dict[str, Floats] = {}
        """Changed weights, if no checkpoint keeps them."""
        self.errors: dict[str, float] = {}
        self.notes: list[str] = []

    def choose(self, name: str, inputs: LinearInputs) -> Tensor:
        """The weight that the quantized stream continues with.

        Raises:
            QuantizationError: the inputs hold NaN or infinity.
        """
        if self._gram is None or self._inputs is None or not inputs.same_as(self._inputs):
            self._inputs = self._gram = None  # released before the next are built
            floats, quantized = inputs.read()
            release_free_memory()
            self._inputs, self._gram = (
                inputs,
                Gram(quantized, floats, self._pool, damping=self._config.damping),
            )
            if not self._gram.is_finite:
                raise QuantizationError(
                    "its inputs hold NaN or infinity once the layers before it are quantized",
                    where=name,
                    remedy="use another technique, or 8 bits for the layers before it (module_precisions.custom)",
                )
        weight = self._calibration.weight(name)
        chosen = self._encode_linear(name, weight, None, self._gram)
        if split_expert(name)[1] is not None and ".down_proj." in name:
            self._inputs = self._gram = None  # the expert is done
        return rounded_weight(weight, chosen.encoding) if chosen.values is None else chosen.values

    def learn(self, layer: int, before: Sequence[Tensor]) -> None:
        """Learn the rounding of the latest block, and let the quantized stream continue with it.

        Args:
            before: the block's input in the quantized stream.
        """
        calibration = self._calibration
        fixed = {name: value for name, value in self._values.items() if name not in self._learnable}
        values = learn_rounding(
            lambda chunk, hidden, weights: calibration.forward(layer, chunk, hidden, {**fixed, **weights})[0],
            [hidden.clone() for hidden in before],
            [hidden.clone() for hidden in calibration.hidden],
            self._learnable,
            steps=self._config.steps,
            seed=self._config.seed + layer,
            pool=self._pool,
        )
        calibration.rerun_quantized(layer, before, fixed | values)
        for name, value in values.items():
            self._keep(name, value)

    def finish_block(self, names: Sequence[str]) -> dict[str, Encoding]:
        """Choose the remaining weights of a block; returns all its encodings, by name."""
        self._inputs = self._gram = None
        self._values, self._learnable = {}, {}
        release_free_memory()
        for name in names:
            if name in self._in_block:
                continue
            if self._fixed is not None and name in self._fixed:
                self._add(name, self._fixed[name])
                continue
            if name not in self._bits:
                self._add(name, self._encode_other(name, self._calibration.weight(name)))
                continue
            experts = self._calibration.parameters.experts_of(name)
            if experts:
                self._finish_experts(name, experts)
            else:
                self._encode_linear(name, self._calibration.weight(name), self._energy_of(name), None)
        encodings = {name: self._in_block[name] for name in names}
        self._in_block, self._of_experts, self._shared = {}, {}, {}
        return encodings

    def _finish_experts(self, name: str, experts: Sequence[str]) -> None:
        """Choose the remaining weights of a wide linear, one expert in memory at a time, and join all encodings."""
        without_inputs = []
        for number, expert in enumerate(experts):
            if expert in self._of_experts:
                continue
            energy = self._energy_of(expert)
            self._encode_linear(expert, self._weight_of_expert(expert), energy, None)
            if energy is None and self._techniques[self._bits[name]].needs != "weights":
                without_inputs.append(str(number))
        if without_inputs:
            self.notes.append(
                f"{name}: no token of the calibration text is given to expert {', '.join(without_inputs)}; its weights"
                " are quantized without inputs"
            )
        parts = [self._of_experts.pop(expert) for expert in experts]
        self._add(name, Encoding.joined(parts, stacked_axis(name)))

    def _weight_of_expert(self, name: str) -> Tensor:
        """The weight of a single expert, read again each time and not held."""
        return shared(self._calibration.parameters.read(name)).to(self._calibration.device)

    def _energy_of(self, name: str) -> Tensor | None:
        needed = self._techniques[self._bits[split_expert(name)[0]]].needs
        return self._energy.of(name) if needed == "energy" else None

    def _shared_scale(self, name: str) -> Tensor:
        """The scales of the channels that the experts of the wide linear `name` share: so that none is clipped."""
        if name not in self._shared:
            found = self._techniques[self._bits[name]]
            largest: Tensor | None = None
            for expert in self._calibration.parameters.experts_of(name):
                scale = found.channel_scale(self._weight_of_expert(expert))
                largest = scale if largest is None else largest.maximum(scale)
            assert largest is not None
            self._shared[name] = largest
        return self._shared[name]

    def finish_embedding(self) -> None:
        """Choose its encoding, once `embedding` has all rows."""
        self._add(EMBEDDING, self.embedding.encoding(self._precisions.embedding))

    def finish_head(self) -> None:
        """Choose its encoding, once `head` has all columns, and those of the head's loaded other parameters."""
        for name in head_names(self._calibration.config):
            self._add(name, self._encode_other(name, self._calibration.weight(name)))
        if has_lm_head(self._calibration.config):
            self._add(LM_HEAD, self.head.encoding())

    def restore(self, done: Done) -> None:
        """Take over the results of finished blocks."""
        self.encodings |= done.params
        self.errors, self.notes = dict(done.errors), list(done.notes)

    def _encode_linear(self, name: str, weight: Tensor, energy: Tensor | None, gram: Gram | None) -> WeightChoice:
        of_all, expert = split_expert(name)
        channel = self._shared_scale(of_all) if expert is not None and stacked_axis(name) == 0 else None
        chosen = self._techniques[self._bits[of_all]].choose(
            name, weight, energy=energy, gram=gram, channel=channel, pool=self._pool
        )
        if expert is None:
            self._add(name, chosen.encoding)
        else:
            self._of_experts[name] = chosen.encoding
        if chosen.error is not None:
            self.errors[name] = chosen.error
        if self.changes:
            self._keep(name, rounded_weight(weight, chosen.encoding) if chosen.values is None else chosen.values)
        if chosen.learnable is not None:
            self._learnable[name] = OnGrid(chosen.learnable.ideal.clone(), chosen.learnable.scale.clone())
        return chosen

    def _keep(self, name: str, changed: Tensor) -> None:
        if self.learns:
            self._values[name] = changed.clone()
        values = changed.cpu().numpy()
        if self._checkpoint is not None:
            encoding = self._of_experts[name] if name in self._of_experts else self.encodings[name]
            self._checkpoint.keep_weight(name, values, encoding)
        else:
            self.changed[name] = values

    def _encode_other(self, name: str, weight: Tensor) -> Encoding:
        if name in self._norms:
            return norm_encoding(weight, self._precisions.rms_norm)
        if weight.ndim == 2:  # behind the pooling
            return largest_weight_encoding(weight, self._precisions.lm_head)
        return bias_encoding(weight, self._precisions.bias)

    def _add(self, name: str, encoding: Encoding) -> None:
        self.encodings[name] = self._in_block[name] = encoding
        dead = int((encoding.scale <= np.float32(SMALLEST_SCALE)).sum())
        if dead and encoding.bitwidth <= 16:  # a grid of 32 bits is always as fine
            self.notes.append(f"{name}: {dead} of {len(encoding.scale)} channels are dead (all weights zero)")


def _others(config: TechniqueConfig, bits: Mapping[str, int]) -> dict[int, WeightTechnique]:
    """By bits, techniques for those of linears that are not quantized as the rest."""
    other = 8 if config.bits == 4 else 4
    if other not in bits.values():
        return {}
    minmax = TechniqueConfig.model_validate({"technique": "minmax", "weight_bitwidth": other})
    return {other: MinMax(minmax, compensates=config.changes_weights)}
