"""The quantized decoder simulated in float: every tensor is rounded to its grid where the graph rounds it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.config import DecoderConfig
from qairt.model.inputs import layer_masks
from qairt.model.layout import stacked_axis
from qairt.model.names import split_expert
from qairt.model.parameters import Parameters
from qairt.model.reference import MASKED, Reference, sequence_positions
from qairt.model.torch_ops import TorchOps
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.grid import nearest
from qairt.quant.structure import Structure


class SimulatedOps(TorchOps):
    """`TorchOps` with weights and tensors rounded to their grids; tensors without an encoding stay float.

    Args:
        device: where weights are held and computed with, as torch names it.
        branches: values of the LoRA branches, by name.
    """

    def __init__(
        self,
        parameters: Parameters,
        encodings: Encodings,
        device: str = "cpu",
        branches: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        super().__init__(parameters, device=device, branches=branches)
        self.encodings = encodings
        for name, value in self.branches.items():
            encoding = encodings.activations.get(name) or encodings.params.get(name)
            self.branches[name] = value if encoding is None else rounded_weight(value, encoding)
        self._on_grid = _moved_on_one_grid(parameters.config, encodings)

    def _load(self, name: str) -> Tensor:
        values = super()._load(name)
        name, expert = split_expert(name)
        encoding = self.encodings.params.get(name)
        if encoding is not None and expert is not None and values.ndim == 2:
            size = values.shape[stacked_axis(name)]
            encoding = encoding.cut(stacked_axis(name), expert * size, (expert + 1) * size)
        return values if encoding is None else rounded_weight(values, encoding)

    def _named(self, name: str, value: Tensor) -> Tensor:
        encoding = self._rounding(name)
        return super()._named(name, value if encoding is None else rounded(value, encoding, in_place=True))

    def _moved(self, name: str, value: Tensor) -> Tensor:
        encoding = self._rounding(name)
        return super()._named(name, value if encoding is None else rounded(value, encoding))

    def _rounding(self, name: str) -> Encoding | None:
        of_all = split_expert(name)[0]
        return None if of_all in self._on_grid else self.encodings.activations.get(of_all)


class Simulated(Reference):
    """The reference decoder, rounded as in the quantized graph.

    Args:
        encodings: all of them, or those whose effect is of interest (`Encodings(params=…)` for weights alone).
    """

    def __init__(
        self,
        parameters: Parameters,
        encodings: Encodings,
        keep_weights: bool = False,
        branches: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        super().__init__(parameters, keep_weights)
        self._ops = SimulatedOps(parameters, encodings, branches=branches)
        self._ops.keep_experts = keep_weights
        self._inputs = encodings.activations

    def positions(self, count: int, past: int = 0) -> dict[str, Tensor]:
        return rounded_positions(self.config, self._inputs, count, past)


def rounded(value: Tensor, encoding: Encoding, *, in_place: bool = False) -> Tensor:
    """The nearest values of a per-tensor grid."""
    return nearest(value, float(encoding.scale[0]), int(encoding.offset[0]), encoding.bitwidth, in_place=in_place)


def rounded_positions(
    config: DecoderConfig, encodings: Mapping[str, Encoding], count: int, past: int = 0, length: int | None = None
) -> dict[str, Tensor]:
    """Masks, cosines and sines on the grids of the graph's inputs; see `qairt.model.reference.sequence_positions`.

    Args:
        encodings: of the inputs; one without stays float.
    """
    floors = {name: float(encodings[name].minimum[0]) if name in encodings else MASKED for name in layer_masks(config)}
    made = sequence_positions(config, count, past, length=length, floors=floors)
    return {
        name: rounded(value, encodings[name]) if name in encodings and name not in floors else value
        for name, value in made.items()
    }


def rounded_weight(weight: Tensor, encoding: Encoding) -> Tensor:
    """`Encoding.nearest` in torch: the same values, with only one temporary of the weight's size.

    Raises:
        QuantizationError: the encoding does not fit the weight's shape.
    """
    if encoding.bitwidth > 16:  # float32 cannot represent these integers
        return torch.from_numpy(encoding.nearest(weight.cpu().numpy())).to(weight.device)
    encoding.check_shape(tuple(weight.shape))
    scale, offset = (
        torch.from_numpy(np.asarray(values, np.float32)).to(weight.device)
        for values in (encoding.scale, encoding.offset)
    )
    rows = weight
    if encoding.blocks is not None:
        integers = torch.from_numpy(encoding.blocks.int_scale.astype(np.float32)).to(weight.device)
        rows = weight.reshape(len(integers), encoding.blocks.block_size, -1)
        scale = (integers * scale)[:, None]
    elif encoding.axis is not None:
        shape = [-1 if axis == encoding.axis else 1 for axis in range(weight.ndim)]
        scale, offset = scale.reshape(shape), offset.reshape(shape)
    return nearest(rows, scale, offset, encoding.bitwidth).reshape(weight.shape)


def _moved_on_one_grid(config: DecoderConfig, encodings: Encodings) -> set[str]:
    """Tensors that need no rounding: moved data whose tied tensors all have the same grid."""
    structure = Structure(config)
    tied: dict[str, list[str]] = {}
    for name in structure.tensors:
        tied.setdefault(structure.tied(name), []).append(name)
    found: set[str] = set()
    for names in tied.values():
        grids = [encodings.activations.get(name) for name in names]
        first = grids[0]
        if first is not None and all(grid is not None and grid.same_grid(first) for grid in grids):
            found.update(structure.moved.intersection(names))
    return found
