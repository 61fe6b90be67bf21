"""The Gram matrix of a linear's inputs, which gives its output error.

With inputs X [tokens, in] and a weight error E [in, out] the squared output error is tr(Eᵀ H E), H = XᵀX. Computed
once, H gives the error of any candidate without running the layer again.

1. No token counts more than the median one: its row is scaled down if its energy is larger. Otherwise the first token,
   a thousand times larger than all others, dominates (perplexity of GPTQ 47 instead of 41).
2. The quantized stream's inputs X differ from the float ones F. The linear should produce F W, so the target weight is
   the W' with the least |F W - X W'|²: W' = W + H⁻¹ Xᵀ(F - X) W. It compensates the errors of earlier layers. A fit to
   few tokens follows their noise as well, so that only the share of it that holds on other tokens is added: one that
   is fitted to the first half of the text is scaled to fit the second, which gives s; with twice the text there is half
   of the noise, and the share is 2 s / (1 + s).
3. Each part is computed on first use: a search over blocks needs only the diagonal blocks of H.

Source: GPTQ (Frantar et al. 2022), and GPTAQ (Li et al. 2025) for 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import cached_property

import torch
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.bfloat16 import fastest_type
from qairt.quant.columns import slices_of_columns

TILE = 256
"""Rows of the matrix that are computed together."""
SAMPLED = 64
"""Outputs that the share of rule 2 is measured on."""
COLUMNS = 512
"""Outputs that are computed together."""


class Gram:
    """The Gram matrix of one linear's inputs; all linears with these inputs share it."""

    def __init__(
        self, inputs: Sequence[Tensor], floats: Sequence[Tensor], pool: Executor, *, damping: float = 0.01
    ) -> None:
        """
        Args:
            inputs: X of the quantized stream, [tokens, in] by segment.
            floats: F of the float stream, the same segments.
            pool: from `qairt.quant.threads.one_thread_each`; the result does not depend on its size.
            damping: fraction of the mean of H's diagonal that is added to it.
        """
        if len(inputs) == 1:
            inputs, floats = inputs[0].tensor_split(2), floats[0].tensor_split(2)
        self._inputs, self._floats, self._pool, self._damping = inputs, floats, pool, damping
        self._same = all(one is other for one, other in zip(inputs, floats, strict=True))
        self._half = len(inputs) // 2
        """Segments of the first half of the text."""
        self._of_half: Tensor | None = None
        """`matrix` of the first half, until the share of rule 2 is measured."""
        energies = [segment.square().sum(1) for segment in inputs]
        self.is_finite = all(bool(energy.isfinite().all()) for energy in energies)
        """No input is NaN or infinite."""
        middle = torch.cat(energies).median()
        self._shares = [(middle / energy).nan_to_num(1.0, 1.0, 1.0).clamp(max=1.0)[:, None] for energy in energies]
        self._width = inputs[0].shape[1]
        self._squares: dict[int, Tensor] = {}
        self._share: float | None = None
        """Of rule 2, once it was measured."""

    @cached_property
    def matrix(self) -> Tensor:
        """H [in, in], damped; an input that is always zero counts a little."""
        total = self._inputs[0].new_zeros(self._width, self._width)
        self._add_products(total, slice(0, self._half))
        if not self._same:
            self._of_half = self._completed(total.clone())
        self._add_products(total, slice(self._half, None))
        return self._completed(total)

    @cached_property
    def order(self) -> Tensor:
        """Inputs [in], those with the most energy first."""
        return self.matrix.diagonal().argsort(descending=True, stable=True)

    @cached_property
    def inverse_cholesky(self) -> Tensor:
        """With inputs in that order, the upper factor U of H's inverse, H⁻¹ = Uᵀ U: row j tells how the inputs after j
        compensate an error of input j."""
        factor = _cholesky(self.matrix[self.order][:, self.order])
        return _cholesky(torch.cholesky_inverse(factor), upper=True)

    @cached_property
    def unexplained(self) -> Tensor:
        """The energy of each input [in] that the inputs after it in `order` do not explain, mean 1: what an error there
        costs once those have compensated it."""
        energy = torch.empty_like(self.matrix[0])
        energy[self.order] = self.inverse_cholesky.diagonal().square().reciprocal()
        return energy / energy.mean()

    def squares(self, block_size: int) -> Tensor:
        """The diagonal blocks of XᵀX [in / block_size, block_size, block_size]."""
        if block_size not in self._squares:
            self._squares[block_size] = self._diagonal_blocks(block_size)
        return self._squares[block_size]

    def target(self, weight: Tensor) -> Tensor:
        """W' [in, out], rule 2 of the module. The share is measured with the first weight."""
        if self._same:
            return weight
        order = self.order  # of the matrix, which the share needs
        factor_of_inverse = self._pool.submit(lambda: self.inverse_cholesky)
        if self._share is None:
            self._share = self._share_that_holds(weight[:, :: max(weight.shape[1] // SAMPLED, 1)])
        share, mismatch, factor = self._share, self.stream_mismatch, factor_of_inverse.result()
        shifted = weight.clone()

        @torch.inference_mode()
        def columns(part: slice) -> None:
            missing = (mismatch @ weight[:, part])[order].mul_(share)
            own = shifted[:, part]
            own[order] += factor.T @ (factor @ missing)

        list(self._pool.map(columns, slices_of_columns(weight, COLUMNS)))
        return shifted

    def error(self, weight: Tensor, quantized: Tensor) -> float:
        """The share of the output's energy that is lost: tr(Eᵀ H E) / tr(Wᵀ H W)."""
        matrix = self.matrix  # computed before threads use it

        @torch.inference_mode()
        def columns(part: slice) -> tuple[Tensor, Tensor]:
            lost, whole = weight[:, part] - quantized[:, part], weight[:, part]
            return (lost * (matrix @ lost)).sum(), (whole * (matrix @ whole)).sum()

        lost, whole = zip(*self._pool.map(columns, slices_of_columns(weight, COLUMNS)), strict=True)
        return _share(torch.stack(lost).sum(), torch.stack(whole).sum())

    def error_of_blocks(self, weight: Tensor, quantized: Tensor, block_size: int) -> float:
        """The same without the cross terms between blocks."""
        squares = self.squares(block_size)
        blocks = [value.reshape(len(squares), block_size, -1) for value in (weight - quantized, weight)]
        return _share(*((value * torch.bmm(squares, value)).sum() for value in blocks))

    def _add_products(self, total: Tensor, segments: slice) -> None:
        """XᵀX of some segments, only on and above the diagonal tiles."""

        @torch.inference_mode()
        def rows(start: int) -> None:
            tile = total[start : start + TILE, start:]
            for left, inputs in zip(self._rows(start, TILE, segments), self._inputs[segments], strict=True):
                tile.addmm_(left.T, inputs[:, start:])

        list(self._pool.map(rows, range(0, self._width, TILE)))

    def _completed(self, upper: Tensor) -> Tensor:
        """The symmetric, damped matrix of what `_add_products` made, in its memory."""
        for start in range(0, self._width, TILE):
            tile = upper[start : start + TILE, start:]
            square = tile[:, :TILE]
            square.copy_(square.triu() + square.triu(1).T)
            upper[start + TILE :, start : start + TILE] = tile[:, TILE:].T
        upper.diagonal().add_(float(upper.diagonal().mean()) * self._damping or 1.0)
        return upper

    def _share_that_holds(self, weight: Tensor) -> float:
        """Of the correction of weight [in, some outputs]."""
        fitted_on, self._of_half = self._of_half, None
        assert fitted_on is not None

        @torch.inference_mode()
        def pulled(inputs: Tensor, floats: Tensor, share: Tensor) -> Tensor:
            return (inputs * share).T @ ((floats - inputs) @ weight)

        @torch.inference_mode()
        def along_and_size(inputs: Tensor, floats: Tensor, share: Tensor) -> tuple[float, float]:
            given = inputs @ correction
            along = (given * ((floats - inputs) @ weight) * share).sum(dtype=torch.float64)
            return float(along), float((given.square() * share).sum(dtype=torch.float64))

        def of(half: slice) -> tuple[Sequence[Tensor], ...]:
            return self._inputs[half], self._floats[half], self._shares[half]

        pulls = self._pool.map(pulled, *of(slice(0, self._half)))
        factor = _cholesky(fitted_on)
        correction = torch.cholesky_solve(sum(pulls, torch.zeros_like(weight)), factor)
        sums = list(self._pool.map(along_and_size, *of(slice(self._half, None))))
        along, size = (sum(each) for each in zip(*sums, strict=True))
        held = min(max(along / size, 0.0), 1.0) if size else 0.0
        return 2 * held / (1 + held)

    @cached_property
    def stream_mismatch(self) -> Tensor:
        """Xᵀ(F - X) [in, in], summed in float32 over products of segments in bfloat16: a small correction."""
        result = self._inputs[0].new_empty(self._width, self._width)
        kind = fastest_type(result.device.type)

        @torch.inference_mode()
        def difference(floats: Tensor, inputs: Tensor) -> Tensor:
            return (floats - inputs).to(kind)

        missing = list(self._pool.map(difference, self._floats, self._inputs))

        @torch.inference_mode()
        def rows(start: int) -> None:
            tile = result[start : start + TILE].zero_()
            for left, segment in zip(self._rows(start, TILE), missing, strict=True):
                tile += (left.T.to(kind) @ segment).float()

        list(self._pool.map(rows, range(0, self._width, TILE)))
        return result

    def _diagonal_blocks(self, block_size: int) -> Tensor:
        result = self._inputs[0].new_zeros(self._width // block_size, block_size, block_size)
        inputs = max(TILE // block_size, 1) * block_size

        @torch.inference_mode()
        def rows(start: int) -> None:
            tile = result[start // block_size : (start + inputs) // block_size]
            for left, segment in zip(self._rows(start, inputs), self._inputs, strict=True):
                one, other = (
                    value.reshape(len(value), -1, block_size).transpose(0, 1)
                    for value in (left, segment[:, start : start + inputs])
                )
                tile.baddbmm_(one.transpose(1, 2), other)

        list(self._pool.map(rows, range(0, self._width, inputs)))
        return result

    def _rows(self, start: int, count: int, segments: slice = slice(None)) -> Iterator[Tensor]:
        """`count` inputs of each segment, weighted by token [tokens, inputs]."""
        for segment, share in zip(self._inputs[segments], self._shares[segments], strict=True):
            yield segment[:, start : start + count] * share


def _cholesky(matrix: Tensor, *, upper: bool = False) -> Tensor:
    found = torch.linalg.cholesky_ex(matrix, upper=upper)
    if int(found.info):
        raise QuantizationError(
            "some inputs of a linear depend on others so much that errors cannot be compensated",
            where="damping",
            remedy="give more, or leave it out",
        )
    factor: Tensor = found.L
    return factor


def _share(lost: Tensor, total: Tensor) -> float:
    return float(lost / total) if float(total) else 0.0
