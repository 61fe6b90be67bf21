"""Rounding that is learned for a whole decoder block.

Error compensation treats each linear alone; it cannot see how an error propagates through attention, the gate and the
later linears. So the integers of all linears of a block are learned together, from the block's output:

    weight = clamp(round(ideal + v), -8, 7) * scale         v = 0 at first, one per weight

`ideal` is the best value of a weight given all others of its linear; rounded, it is the result of error compensation.
v takes small steps against the sign of its gradient, ever smaller ones that add up to a half: a weight moves to the
next integer if the text consistently pulls it there, the sooner the closer it was. Scales stay, so the grid stays
exact. The loss over the whole text is evaluated a few times and the best result is kept, so on that text it is never
worse than at the start.

The loss of a token is the squared error of its hidden state; no token counts more than the median one.

Source: SignRound (Cheng et al. 2023), here from integers that already compensate each other's error.
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
"""Chunks per step, side by side."""
EVALUATIONS = 4
"""How often the loss over the whole text is computed."""

Forward = Callable[[int, Tensor, Mapping[str, Tensor]], Tensor]
"""A chunk's number, its hidden state [1, tokens, hidden] and weights by name -> the block's output."""
LossOf = Callable[[Mapping[str, Tensor], int], Tensor]
"""Weights by name and a chunk's index -> loss."""


@dataclass(frozen=True)
class OnGrid:
    """A weight on the LPBQ grid, before rounding."""

    ideal: Tensor
    """[in, out], in steps of the grid, not rounded."""
    scale: Tensor
    """[in, out]."""

    def values(self, moved: Tensor | float = 0.0) -> Tensor:
        """The rounded weight after a move, in steps."""
        return clip_to_steps_(self.ideal + moved, LOWEST, BITWIDTH).mul_(self.scale)


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
        inputs: its input in the quantized stream, [1, tokens, hidden] by chunk.
        targets: its output in the float stream.
        weights: all its linears.
        steps: number of steps of `v`.
        seed: fixes the order of chunks.
        pool: from `qairt.quant.threads.one_thread_each`; the result does not depend on its size.
    """
    order = torch.Generator().manual_seed(seed)
    moves = {name: torch.zeros_like(weight.ideal) for name, weight in weights.items()}
    best = {name: weight.values() for name, weight in weights.items()}
    shares = _shares(targets)

    def loss_of(values: Mapping[str, Tensor], place: int) -> Tensor:
        error = (forward(place, inputs[place], values) - targets[place]).square().sum(-1)
        return (error * shares[place]).sum()

    def total(values: Mapping[str, Tensor]) -> float:
        return sum(pool.map(lambda place: _without_gradient(loss_of, values, place), range(len(inputs))))

    least = total(best)
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
        if (step + 1) % max(steps // EVALUATIONS, 1) == 0:
            now = {name: one.values(moves[name]) for name, one in weights.items()}
            loss_now = total(now)
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
    """The weight of each token in the loss, [1, tokens] by chunk."""
    energies = [target.square().sum(-1) for target in targets]
    middle = torch.cat([energy.flatten() for energy in energies]).median()
    return [(middle / energy).clamp(max=1.0) / middle for energy in energies]
