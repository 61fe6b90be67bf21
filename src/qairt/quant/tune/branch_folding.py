"""`Parameters.folded_branch` on tensors, so that gradients reach an adapter's A and B as they are stored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qairt.model.folding import factor_of, output_order
from qairt.model.parameters import Parameters
from qairt.model.rotation_matrix import RotationMatrix
from qairt.model.torch_ops import shared


class BranchFolding:
    """Folds and rotates the branches of a decoder.

    In memory: one dense matrix for each size that is rotated.
    """

    def __init__(self, parameters: Parameters, device: str) -> None:
        """
        Args:
            parameters: of the base; their rotation is applied to branches.
            device: of A and B.
        """
        self._config = parameters.config
        self._rotation = parameters.rotation
        self._plain = Parameters(parameters.source, parameters.config)
        self._device = device
        self._dense: dict[RotationMatrix, Tensor] = {}

    def a(self, module: str, a: Tensor) -> Tensor:
        """A [in, R] of a stored model, beside the linear `module` (its name without `.weight`) of the graph."""
        weight = module + ".weight"
        matrix = self._rotation.input_side(weight) if self._rotation is not None else None
        if self._rotation is None or matrix is None:
            return a
        norm = self._rotation.folded_norm(weight)
        scaled = a if norm is None else a * shared(self._plain.read(norm)).to(self._device)[:, None]
        return self._turned(scaled.T, matrix).T

    def b(self, module: str, b: Tensor) -> Tensor:
        """B [R, out]; see `a`."""
        weight = module + ".weight"
        order = output_order(self._config, weight)
        if order is not None:
            b = b[:, torch.from_numpy(order).to(self._device)]
        matrix = self._rotation.output_side(weight) if self._rotation is not None else None
        if matrix is not None:
            b = self._turned(b, matrix)
        return b * factor_of(self._config, weight)

    def _turned(self, rows: Tensor, matrix: RotationMatrix) -> Tensor:
        """rows [..., channels] by the matrix, each `matrix.size` channels alone."""
        if matrix not in self._dense:
            self._dense[matrix] = torch.from_numpy(matrix.apply(np.eye(matrix.size))).to(self._device)
        return (rows.reshape(-1, matrix.size) @ self._dense[matrix]).reshape(rows.shape)
