"""LoRA branches while a model is calibrated, and the encodings that depend on them.

1. The base reads its own text with the branches at zero; each concurrency reads its text with them on, at its scaling.
   Ranges of a branch that was off would clip it to nothing.
2. A has the grid of -1 … 1, which every adapter fits (`qairt.model.lora.shape`). B has that of the largest value of any
   concurrency times `HEADROOM`, so that adapters may be added or trained further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from qairt.model.lora.shape import LoraShape
from qairt.model.names import branch_names
from qairt.quant.encodings import Encoding, Encodings, range_encoding
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

    def identity(self) -> JsonValue:
        """What a checkpoint of the calibration belongs to."""
        return [self.shape.model_dump(mode="json"), self.updatable, [text.identity() for text in self.texts]]

    def largest(self) -> dict[str, float]:
        """By branch input, the largest value of any concurrency."""
        return {
            name: max(float(np.abs(text.branches[name]).max(initial=0)) for text in self.texts)
            for module in self.shape.ranks
            for name in branch_names(module)
        }


def branch_encodings(largest: Mapping[str, float], *, headroom: float = HEADROOM) -> dict[str, Encoding]:
    """The encodings of branch inputs (rule 2).

    Args:
        largest: by input, its largest value.
    """
    return {
        name: range_encoding(0.0, 1.0 if name.endswith("_a") else headroom * value, BITWIDTH, symmetric=True)
        for name, value in largest.items()
    }


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
