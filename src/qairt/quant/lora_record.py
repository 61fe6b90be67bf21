"""What a quantized model says about its LoRA branches: their shape, the grids of their inputs, and the adapters whose
activations were measured. Other adapters of the same shape run in the same graphs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from qairt.files import read_regular
from qairt.model.lora.shape import LoraShape
from qairt.quant.encodings import Encoding, per_tensor

Floats = NDArray[np.float32]


class InputGrid(BaseModel):
    """The grid of a branch input."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float
    offset: int
    bitwidth: int

    def encoding(self) -> Encoding:
        is_symmetric = self.offset == -(1 << self.bitwidth - 1)
        return per_tensor(self.scale, self.offset, self.bitwidth, symmetric=is_symmetric)


class ActiveAdapter(BaseModel):
    """An adapter in a concurrency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str
    """Of its files."""
    strength: float


class LoraRecord(BaseModel):
    """Written beside the encodings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: LoraShape
    grids: dict[str, InputGrid]
    """By branch input."""
    calibrated: dict[str, list[ActiveAdapter]]
    """By concurrency, the adapters that ranges were measured with."""

    @classmethod
    def read(cls, path: Path) -> LoraRecord:
        return cls.model_validate_json(read_regular(path))

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def stored(self, values: Mapping[str, Floats]) -> dict[str, NDArray[np.generic]]:
        """Values of branch inputs as the integers that a graph reads."""
        found: dict[str, NDArray[np.generic]] = {}
        for name, value in values.items():
            encoding = self.grids[name].encoding()
            found[name] = encoding.quantize(value).astype(np.uint8 if encoding.bitwidth == 8 else np.uint16)
        return found

    def clipped(self, values: Mapping[str, Floats]) -> dict[str, float]:
        """By branch input, the share of its values that lie outside its grid by more than half a step; without those
        where none does."""
        shares = {}
        for name, value in values.items():
            grid = self.grids[name].encoding()
            half = float(grid.scale[0]) / 2
            outside = (value < float(grid.minimum[0]) - half) | (value > float(grid.maximum[0]) + half)
            if outside.any():
                shares[name] = float(outside.mean())
        return shares

    def is_calibrated(self, active: list[ActiveAdapter]) -> bool:
        """Whether ranges were measured with exactly these adapters at these strengths, in some concurrency."""
        return not active or active in self.calibrated.values()
