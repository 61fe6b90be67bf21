"""The float model's hidden states between the halves of layers, computed from what entered the layers.

Reference vectors record what lies between layers. Few models are split within one, so the rest is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.names import HANDED_ON, attended_name, hidden_name, is_branch_input, residual_name
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.quant.measure.reference_vectors import Array, ReferenceVectors


def with_attended(
    vectors: ReferenceVectors, parameters: Parameters, branches: Mapping[str, NDArray[np.float32]] | None = None
) -> ReferenceVectors:
    """The vectors, and `attended_{k}` [1, T, hidden] of every layer on demand.

    Args:
        vectors: recorded or computed.
        parameters: those of the model that they are of.
        branches: the inputs of the LoRA branches that it ran with, by name, but for those that `vectors` holds.
    """
    held = {name: vectors.values(name) for name in vectors.tensors if is_branch_input(name)}
    return ReferenceVectors(_WithAttended(vectors, parameters, {**held, **(branches or {})}))


class _WithAttended(Mapping[str, Array]):
    def __init__(
        self, vectors: ReferenceVectors, parameters: Parameters, branches: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self._vectors = vectors
        self._parameters = parameters
        self._branches = branches
        self._computed: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        found = HANDED_ON.fullmatch(name)
        if found is None or name != attended_name(int(found[2])):
            return self._vectors.tensors[name]
        if name not in self._computed:
            self._computed[name] = self._attended(int(found[2]))
        return self._computed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._vectors.tensors)

    def __len__(self) -> int:
        return len(self._vectors.tensors)

    def _attended(self, layer: int) -> Array:
        reference = Reference(self._parameters, branches=self._branches)
        entering = torch.from_numpy(self._vectors.values(hidden_name(layer)))
        found: list[Tensor] = []

        def tap(name: str, value: Tensor) -> None:
            if name == residual_name(layer):
                found.append(value)

        positions = reference.positions(self._vectors.length)
        reference.run_block(layer, entering, positions, reference.empty_past(layer), tap)
        reference.release()
        return np.ascontiguousarray(found[0].numpy())
