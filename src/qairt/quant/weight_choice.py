"""The encoding of each weight, chosen while calibration text goes through the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD
from qairt.quant.checkpoint import Checkpoint, Done
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, Encoding
from qairt.quant.free_memory import give_back
from qairt.quant.measure.calibration import Calibration, Inputs
from qairt.quant.measure.energy import InputEnergy
from qairt.quant.measure.gram import Gram
from qairt.quant.precisions import linear_bits
from qairt.quant.simulate import rounded_weight
from qairt.quant.structure import Structure
from qairt.quant.techniques import technique
from qairt.quant.techniques.base import Chosen, Needs, WeightTechnique
from qairt.quant.techniques.learned import OnGrid, learn_rounding
from qairt.quant.weights import EmbeddingSearch, HeadSearch, bias_encoding, norm_encoding

Floats = NDArray[np.float32]


class WeightChoice:
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
        given: Mapping[str, Encoding] | None,
    ) -> None:
        """
        Args:
            given: encodings of linears that no technique is asked for.
        """
        self._config = config
        self._given = given
        self._techniques = {config.bits: technique(config), **_others(config)}
        self._bits = linear_bits(config.module_precisions, config.bits, decoder)
        self.needs: Needs = self._techniques[config.bits].needs if given is None else "weights"
        self.changes = config.changes_weights and given is None
        """Weights are written as they were rounded: then all linears are, so that the quantized stream is what the
        exported graph computes."""
        self.learns = config.rounding == "learned" and given is None
        """A block's weights are learned together after it ran."""
        self._precisions = config.module_precisions
        self._energy = energy
        self._calibration = calibration
        self._pool = pool
        self._checkpoint = checkpoint
        self._norms = set(structure.norms)
        self.embedding, self.head = EmbeddingSearch(decoder.vocab_size), HeadSearch(config.module_precisions.lm_head)
        """To look at these two, some tokens at a time."""
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
        """What the quantized stream goes on with, given what it brings to a linear.

        Raises:
            QuantizationError: it brings NaN or infinity.
        """
        if self._gram is None or self._inputs is None or not inputs.same_as(self._inputs):
            self._inputs = self._gram = None  # let go of those before the next are made
            floats, quantized = inputs.read()
            give_back()
            self._inputs, self._gram = inputs, Gram(quantized, floats, self._pool, damping=self._config.damping)
            if not self._gram.is_finite:
                raise QuantizationError(
                    "with the layers before it quantized, its inputs hold NaN or infinity",
                    where=name,
                    remedy="use another technique, or give the layers before it 8 bits (module_precisions.custom)",
                )
        weight = self._calibration.weight(name)
        chosen = self._encode_linear(name, weight, None, self._gram)
        return rounded_weight(weight, chosen.encoding) if chosen.values is None else chosen.values

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
        give_back()
        for name in names:
            if name in self._here:
                continue
            if self._given is not None and name in self._given:
                self._add(name, self._given[name])
                continue
            weight = self._calibration.weight(name)
            if name not in self._bits:
                self._add(name, self._encode_other(name, weight))
                continue
            needed = self._techniques[self._bits[name]].needs
            self._encode_linear(name, weight, self._energy.of(name) if needed == "energy" else None, None)
        made = {name: self._here[name] for name in names}
        self._here = {}
        return made

    def finish_embedding(self) -> None:
        """`embedding` has looked at all of it."""
        self._add(EMBEDDING, self.embedding.encoding(self._precisions.embedding))

    def finish_head(self) -> None:
        """`head` has looked at all of it, and the final norm is loaded."""
        self._add(FINAL_NORM, self._encode_other(FINAL_NORM, self._calibration.weight(FINAL_NORM)))
        self._add(LM_HEAD, self.head.encoding())

    def facts(self) -> dict[str, object]:
        """What a later attempt cannot find out again."""
        return {"errors": self.errors, "notes": self.notes}

    def restore(self, done: Done) -> None:
        """What blocks done before gave."""
        self.encodings |= done.params
        self.errors, self.notes = dict(done.facts["errors"]), list(done.facts["notes"])

    def _encode_linear(self, name: str, weight: Tensor, energy: Tensor | None, gram: Gram | None) -> Chosen:
        chosen = self._techniques[self._bits[name]].choose(name, weight, energy=energy, gram=gram, pool=self._pool)
        self._add(name, chosen.encoding)
        if chosen.error is not None:
            self.errors[name] = chosen.error
        if self.changes:
            self._keep(name, rounded_weight(weight, chosen.encoding) if chosen.values is None else chosen.values)
        if chosen.place is not None:
            self._places[name] = OnGrid(chosen.place.wanted.clone(), chosen.place.scale.clone())
        return chosen

    def _keep(self, name: str, changed: Tensor) -> None:
        if self.learns:
            self._values[name] = changed.clone()
        values = changed.cpu().numpy()
        if self._checkpoint is not None:
            self._checkpoint.keep_weight(name, values)
        else:
            self.changed[name] = values

    def _encode_other(self, name: str, weight: Tensor) -> Encoding:
        if name in self._norms:
            return norm_encoding(weight, self._precisions.rms_norm)
        return bias_encoding(weight, self._precisions.bias)

    def _add(self, name: str, encoding: Encoding) -> None:
        self.encodings[name] = self._here[name] = encoding
        dead = int((encoding.scale <= np.float32(SMALLEST_SCALE)).sum())
        if dead:
            self.notes.append(f"{name}: {dead} of {len(encoding.scale)} channels are dead (all weights zero)")


def _others(config: TechniqueConfig) -> dict[int, WeightTechnique]:
    """Techniques for the bits that only `module_precisions.custom` gives, by bits."""
    other = 8 if config.bits == 4 else 4
    if other not in config.module_precisions.custom.values():
        return {}
    return {other: technique(TechniqueConfig.model_validate({"technique": "minmax", "weight_bitwidth": other}))}
