"""Rounding that is learned for a whole decoder block.

What error compensation leaves is what no linear can see by itself: how its error goes through attention, the gate and
the linears after it. So the integers of all linears of a block are learned together, on what leaves the block:

    weight = clamp(round(wanted + v), -8, 7) * scale         v = 0 at first, one a weight

`wanted` is what a weight would best be, given all others of its linear; rounded, it is where error compensation ended.
v goes a small step against the sign of its gradient, in ever smaller steps that add up to a half: a weight moves to the
next integer when the text keeps on pulling there, the sooner the closer it was. Scales stay, so the grid stays exact. A
few times the loss over the whole text is looked at; the best is kept, so there it is never worse than at the start.

The loss of a token is the squared error of its hidden state; a token counts for no more than the median one.

Source: SignRound (Cheng et al. 2023), here from integers that already make good each other's error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor

from qairt.quant.grid import clip_to_steps_
from qairt.quant.techniques.lpbq_grid import BITWIDTH, LOWEST

CHUNKS = 2
"""That a step looks at, side by side."""
LOOKS = 4
"""Times that the loss over the whole text is looked at."""

Forward = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""A chunk's hidden state [1, tokens, hidden] and weights by name -> what leaves the block."""
LossOf = Callable[[Mapping[str, Tensor], int], Tensor]
"""Weights by name and which chunk -> loss."""


@dataclass(frozen=True)
class OnGrid:
    """A weight and its place on the LPBQ grid."""

    wanted: Tensor
    """[in, out], in steps of the grid, not rounded."""
    scale: Tensor
    """[in, out]."""

    def values(self, moved: Tensor | float = 0.0) -> Tensor:
        """On the grid, after a move of so many steps."""
        return clip_to_steps_(self.wanted + moved, LOWEST, BITWIDTH).mul_(self.scale)


def learn_rounding(
    forward: Forward,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    weights: Mapping[str, OnGrid],
    *,
    steps: int,
    seed: int,
    pool: Executor,
) -> dict[str, Tensor]:
    """Better integers for the linears of a block; returns their values by name.

    Args:
        forward: the block.
        inputs: what enters it in the quantized stream, [1, tokens, hidden] by chunk.
        targets: what leaves it in the float stream.
        weights: of all its linears.
        steps: times that all of `v` move.
        seed: of the order of chunks.
        pool: from `qairt.quant.measure.calibration.one_thread_each`; the result does not depend on its size.
    """
    order = torch.Generator().manual_seed(seed)
    moves = {name: torch.zeros_like(weight.wanted) for name, weight in weights.items()}
    best = {name: weight.values() for name, weight in weights.items()}
    shares = _shares(targets)

    def loss_of(values: Mapping[str, Tensor], place: int) -> Tensor:
        error = (forward(inputs[place], values) - targets[place]).square().sum(-1)
        return (error * shares[place]).sum()

    def whole(values: Mapping[str, Tensor]) -> float:
        return sum(pool.map(lambda place: _without_gradient(loss_of, values, place), range(len(inputs))))

    least = whole(best)
    places: list[int] = []
    for step in range(steps):
        while len(places) < CHUNKS:
            places += torch.randperm(len(inputs), generator=order).tolist()
        here, places = places[:CHUNKS], places[CHUNKS:]
        values = {name: one.values(moves[name]) for name, one in weights.items()}
        found = list(pool.map(lambda place, values=values: _gradients(loss_of, values, place), here))
        size = (1 - step / steps) / steps
        for name, gradients in zip(values, zip(*found, strict=True), strict=True):
            moves[name].sub_(torch.stack(gradients).sum(0).sign_(), alpha=size)
        if (step + 1) % max(steps // LOOKS, 1) == 0:
            now = {name: one.values(moves[name]) for name, one in weights.items()}
            loss_now = whole(now)
            if loss_now < least:
                least, best = loss_now, now
    return best


def _gradients(loss_of: LossOf, values: Mapping[str, Tensor], place: int) -> tuple[Tensor, ...]:
    leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
    with torch.enable_grad():
        return torch.autograd.grad(loss_of(leaves, place), list(leaves.values()))


def _without_gradient(loss_of: LossOf, values: Mapping[str, Tensor], place: int) -> float:
    with torch.no_grad():
        return float(loss_of(values, place))


def _shares(targets: Sequence[Tensor]) -> list[Tensor]:
    """How much each token counts, [1, tokens] by chunk."""
    energies = [target.square().sum(-1) for target in targets]
    middle = torch.cat([energy.flatten() for energy in energies]).median()
    return [(middle / energy).clamp(max=1.0) / middle for energy in energies]
