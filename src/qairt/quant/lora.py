"""LoRA branches while a model is calibrated, and the encodings that depend on them.

1. The base reads its own text with the branches at zero; each concurrency reads its text with them on, at its scaling.
   Ranges of a branch that was off would clip it to nothing.
2. A has the grid of -1 … 1, which every adapter fits (`qairt.model.lora.shape`). B has that of the largest value of any
   concurrency times `HEADROOM`, so that adapters may be added or trained further.
3. With hot switch, A and B have a grid for each column, and the strengths one from the lowest of any concurrency, at
   most 0, to the highest, at least 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from qairt.model.lora.shape import LoraShape
from qairt.model.names import ALPHA
from qairt.quant.encodings import SMALLEST_SCALE, Encoding, Encodings, range_encoding, symmetric_channels
from qairt.quant.structure import Structure

Floats = NDArray[np.float32]
Updatable = Literal["none", "adapter_only", "all"]
BITWIDTH = 8
"""Of A and B."""
HEADROOM = 2.0


@dataclass(frozen=True)
class AdaptedText:
    """The calibration text of a concurrency, and the branches that it runs with."""

    concurrency: str
    tokens: Sequence[NDArray[np.integer]]
    branches: Mapping[str, Floats]

    def identity(self) -> JsonValue:
        values = sha256()
        for name, value in sorted(self.branches.items()):
            values.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return [self.concurrency, [np.asarray(chunk, np.int64).tolist() for chunk in self.tokens], values.hexdigest()]


@dataclass(frozen=True)
class LoraCalibration:
    """The branches of a model, and what they are calibrated on."""

    shape: LoraShape
    texts: Sequence[AdaptedText]
    updatable: Updatable = "none"
    """Which encodings each concurrency has of its own: none, those of the branches, or all of activations."""
    base: str = "base"
    """What the model without adapters is called among them."""
    constants: Mapping[str, Floats] = field(default_factory=dict)
    """With hot switch, A, B and the columns of every branch, by name."""

    def identity(self) -> JsonValue:
        """What a checkpoint of the calibration belongs to."""
        constants = [AdaptedText("", [], self.constants).identity()] if self.constants else []
        shape = self.shape.model_dump(mode="json")
        return [shape, self.updatable, [text.identity() for text in self.texts], *constants]

    def input_encodings(self, act_bitwidth: int) -> dict[str, Encoding]:
        """The encodings of branch inputs, which all concurrencies share."""
        if self.shape.is_switched:
            strengths = np.concatenate([text.branches[ALPHA].reshape(-1) for text in self.texts])
            return {
                ALPHA: range_encoding(min(0.0, float(strengths.min())), max(1.0, float(strengths.max())), act_bitwidth)
            }
        return matrix_encodings([text.branches for text in self.texts])

    def own_input_encodings(self, branches: Mapping[str, Floats], act_bitwidth: int) -> dict[str, Encoding]:
        """Those of a concurrency alone: strengths keep theirs."""
        if self.shape.is_switched:
            return self.input_encodings(act_bitwidth)
        return matrix_encodings([branches], headroom=1.0)

    def constant_encodings(self) -> dict[str, Encoding]:
        """The encodings of the branches' weights (rule 3)."""
        return {name: column_encoding(value) for name, value in self.constants.items()}


def matrix_encodings(values: Sequence[Mapping[str, Floats]], *, headroom: float = HEADROOM) -> dict[str, Encoding]:
    """The encodings of A and B as inputs (rule 2).

    Args:
        values: by input, of each concurrency.
    """
    largest = {name: max(float(np.abs(each[name]).max(initial=0)) for each in values) for name in values[0]}
    return {
        name: range_encoding(0.0, 1.0 if name.endswith("_a") else headroom * value, BITWIDTH, symmetric=True)
        for name, value in largest.items()
    }


def column_encoding(values: Floats) -> Encoding:
    """One grid for each column."""
    largest = np.abs(values).max(0) / np.float32((1 << BITWIDTH - 1) - 1)
    return symmetric_channels(np.maximum(largest, np.float32(SMALLEST_SCALE)), BITWIDTH, axis=1)


def own_encodings(
    together: Encodings, own: Mapping[str, Encoding], structure: Structure, updatable: Updatable
) -> Encodings:
    """The encodings of one concurrency.

    Args:
        together: those that all concurrencies share.
        own: of activations, measured with this concurrency alone.
    """
    replaced = {name: own[name] for name in structure.tensors if updatable == "all" or name in structure.adapted}
    return Encodings({**together.activations, **replaced}, together.params)
