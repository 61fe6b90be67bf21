"""What the output error of a linear is made of: the Gram matrix of its inputs.

With inputs X [tokens, in] and a weight error E [in, out] the squared output error is tr(Eᵀ H E), H = XᵀX. Gathered
once, H gives the error of any candidate without running the layer again.

1. A token counts for no more than the median one: its row is scaled down when its energy is larger. Otherwise the first
   token, a thousand times larger than all others, decides alone (perplexity of GPTQ 47 instead of 41).
2. The quantized stream's inputs X differ from the float ones F. What the linear should give is F W, so the weight to
   aim at is the W' with the least |F W - X W'|²: W' = W + H⁻¹ Xᵀ(F - X) W. It makes good what the layers before lost.

Source: GPTQ (Frantar et al. 2022), and GPTAQ (Li et al. 2025) for 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import cached_property

import torch
from torch import Tensor

TILE = 256
"""Rows of the matrix that are gathered together."""


class Damped:
    """A damped Gram matrix H, and what is made of it once for all linears with these inputs."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        """H [in, in]."""

    @cached_property
    def factor(self) -> Tensor:
        """The lower Cholesky factor of H."""
        factor: Tensor = torch.linalg.cholesky(self.matrix)
        return factor

    @cached_property
    def order(self) -> Tensor:
        """Inputs [in], those with the most energy first."""
        return self.matrix.diagonal().argsort(descending=True, stable=True)

    @cached_property
    def ordered(self) -> Tensor:
        """H with its inputs in that order."""
        return self.matrix[self.order][:, self.order]

    @cached_property
    def passing_on(self) -> Tensor:
        """The upper factor U of the ordered inverse, H⁻¹ = Uᵀ U: row j says how an error of input j is made good by
        those after it."""
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.ordered))
        factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
        return factor


class Gram:
    """H = XᵀX and D = Xᵀ(F - X) of one linear's inputs."""

    def __init__(self, inputs: Sequence[Tensor], floats: Sequence[Tensor], pool: Executor) -> None:
        """
        Args:
            inputs: X of the quantized stream in pieces [tokens, in].
            floats: F of the float stream, the same pieces.
            pool: from `qairt.quant.calibration.one_thread_each`; the result does not depend on its size.
        """
        energies = [piece.square().sum(1) for piece in inputs]
        middle = torch.cat(energies).median()
        scaled = [
            piece * (middle / energy).nan_to_num(1.0, 1.0, 1.0).clamp(max=1.0)[:, None]
            for piece, energy in zip(inputs, energies, strict=True)
        ]
        self.matrix = _product(inputs, scaled, pool, symmetric=True)
        """H [in, in]."""
        self._inputs, self._floats, self._scaled, self._pool = inputs, floats, scaled, pool
        self._damped: dict[float, Damped] = {}

    @cached_property
    def shift(self) -> Tensor | None:
        """D [in, in]; None where both streams are the same."""
        if all(one is other for one, other in zip(self._inputs, self._floats, strict=True)):
            return None
        differences = [one - other for one, other in zip(self._floats, self._inputs, strict=True)]
        return _product(self._scaled, differences, self._pool, symmetric=False)

    def damped(self, damping: float) -> Damped:
        """H + damping * mean(diag H) * I; an input that was never seen counts as one that hardly matters."""
        if damping not in self._damped:
            matrix = self.matrix.clone()
            matrix.diagonal().add_(float(self.matrix.diagonal().mean()) * damping or 1.0)
            self._damped[damping] = Damped(matrix)
        return self._damped[damping]

    def target(self, weight: Tensor, damping: float) -> Tensor:
        """W' [in, out]: see 2 of the module."""
        if self.shift is None:
            return weight
        return weight + torch.cholesky_solve(self.shift @ weight, self.damped(damping).factor)

    def error(self, weight: Tensor, quantized: Tensor) -> float:
        """The share of the output's energy that is lost: tr(Eᵀ H E) / tr(Wᵀ H W)."""
        lost, all_of_it = ((value * (self.matrix @ value)).sum() for value in (weight - quantized, weight))
        return float(lost / all_of_it) if float(all_of_it) else 0.0


def _product(left: Sequence[Tensor], right: Sequence[Tensor], pool: Executor, *, symmetric: bool) -> Tensor:
    """The sum over pieces of leftᵀ right [in, in]; when symmetric only a half is computed."""
    width = left[0].shape[1]
    result = left[0].new_empty(width, width)

    @torch.inference_mode()
    def rows(start: int) -> None:
        first = start if symmetric else 0
        tile = result[start : start + TILE, first:].zero_()
        for one, other in zip(left, right, strict=True):
            tile.addmm_(one[:, start : start + TILE].T, other[:, first:])
        if symmetric:
            square = tile[:, :TILE]
            square.copy_(square.triu() + square.triu(1).T)
            result[start + TILE :, start : start + TILE] = tile[:, TILE:].T

    list(pool.map(rows, range(0, width, TILE)))
    return result
