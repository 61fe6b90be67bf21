"""The text that a model is calibrated on: the base's, then each concurrency's with its LoRA branches on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.config import DecoderConfig
from qairt.model.lora.shape import base_values
from qairt.model.torch_ops import shared
from qairt.quant.lora import LoraCalibration

Floats = NDArray[np.float32]


class CalibrationTexts:
    """Chunks of the base and of every concurrency, in one list."""

    def __init__(
        self,
        config: DecoderConfig,
        tokens: Sequence[NDArray[np.integer]],
        lora: LoraCalibration | None,
        device: torch.device,
    ) -> None:
        self.chunks = [*tokens]
        self._owner = [0] * len(tokens)
        """By chunk, the place of its text: 0 is the base."""
        self._values: list[Mapping[str, Floats]] = [base_values(lora.shape, config) if lora is not None else {}]
        self._names = [lora.base if lora is not None else ""]
        for place, text in enumerate(lora.texts if lora is not None else (), 1):
            self.chunks += text.tokens
            self._owner += [place] * len(text.tokens)
            self._values.append(text.branches)
            self._names.append(text.concurrency)
        constants = {
            name: shared(value).to(device) for name, value in (lora.constants if lora is not None else {}).items()
        }
        self._tensors = [
            constants | {name: shared(value).to(device) for name, value in held.items()} for held in self._values
        ]
        self._is_apart = lora is not None and lora.updatable != "none"
        self.recorded = [0] if lora is None else [0, len(tokens)]
        """The chunks whose reference vectors are recorded: the first of the base, and of the first concurrency."""

    @property
    def measured_apart(self) -> int:
        """How many texts have ranges of their own."""
        return len(self._names) if self._is_apart else 1

    def apart_at(self, chunk: int) -> int:
        """The place of a chunk's text among those."""
        return self._owner[chunk] if self._is_apart else 0

    def apart(self) -> dict[str, Mapping[str, Floats]]:
        """By text that has ranges of its own, the values of its branch inputs."""
        return dict(zip(self._names, self._values, strict=True)) if self._is_apart else {}

    def branches(self, chunk: int) -> Mapping[str, Tensor]:
        """The values of a chunk's branches, inputs and weights, on the device."""
        return self._tensors[self._owner[chunk]]

    def values(self, chunk: int) -> Mapping[str, Floats]:
        """The same for its reference vectors: nothing for the base, whose branches are zero."""
        return self._values[self._owner[chunk]] if self._owner[chunk] else {}
