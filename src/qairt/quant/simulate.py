"""The quantized decoder simulated in float: every tensor is rounded to its grid where the graph rounds it."""

from __future__ import annotations

from collections.abc import Mapping
from threading import local
from weakref import ref

import numpy as np
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
from qairt.quant.integer_product import IntegerWeight, StoredBytes, fits_bytes, has_integer_products
from qairt.quant.structure import Structure
from qairt.quant.weight_grid import rounded_weight


class SimulatedOps(TorchOps):
    """`TorchOps` with weights and tensors rounded to their grids; tensors without an encoding stay float.

    A linear whose weights and inputs are on grids is computed in integers where the processor can
    (`qairt.quant.integer_product`).

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
        structure = Structure(parameters.config)
        self._on_grid = _moved_on_one_grid(structure, encodings)
        self._input_grids = _input_grids(structure, encodings) if has_integer_products(device) else {}
        """By weight, for linears that are computed in integers."""
        self._integers: dict[str, IntegerWeight] = {}
        self._stores.append(self._integers)
        self._here = local()

    def product(self, x: Tensor, weight: str) -> Tensor:
        grid = self._input_grids.get(split_expert(weight)[0])
        if grid is None:
            return super().product(x, weight)
        found = self._integer_weight(weight).product(self._bytes_of(x, grid))
        return found.reshape(*x.shape[:-1], -1)

    def _read(self, name: str) -> None:
        if split_expert(name)[0] in self._input_grids:
            self._integer_weight(name)
        else:
            super()._read(name)

    def _integer_weight(self, name: str) -> IntegerWeight:
        return self._kept(self._integers, name, self._load_integers)

    def _load_integers(self, name: str) -> IntegerWeight:
        values, encoding = self._with_encoding(name)
        assert encoding is not None
        return IntegerWeight(values, encoding)

    def _bytes_of(self, x: Tensor, grid: Encoding) -> StoredBytes:
        """Of a linear's input, which the linears after it read too."""
        latest: tuple[ref[Tensor], StoredBytes] | None = getattr(self._here, "latest", None)
        if latest is None or latest[0]() is not x:
            latest = self._here.latest = ref(x), StoredBytes.of(x, grid)
        return latest[1]

    def _load(self, name: str) -> Tensor:
        values, encoding = self._with_encoding(name)
        return values if encoding is None else rounded_weight(values, encoding)

    def _with_encoding(self, name: str) -> tuple[Tensor, Encoding | None]:
        """A parameter as it is stored, or that of a single expert, and its encoding."""
        values = super()._load(name)
        name, expert = split_expert(name)
        encoding = self.encodings.params.get(name)
        if encoding is not None and expert is not None and values.ndim == 2:
            size = values.shape[stacked_axis(name)]
            encoding = encoding.cut(stacked_axis(name), expert * size, (expert + 1) * size)
        return values, encoding

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


def _input_grids(structure: Structure, encodings: Encodings) -> dict[str, Encoding]:
    """By weight, the grid of a linear's input, where its product is one of bytes."""
    found = {}
    for linear in structure.linears:
        weight, inputs = encodings.params.get(linear.weight), encodings.activations.get(linear.input)
        if weight is not None and inputs is not None and fits_bytes(weight) and inputs.bitwidth <= 16:
            found[linear.weight] = inputs
    return found


def _moved_on_one_grid(structure: Structure, encodings: Encodings) -> set[str]:
    """Tensors that need no rounding: moved data whose tied tensors all have the same grid."""
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
