"""What rounding each linear's weights costs at the model's output.

A small change d of a linear's output at a token changes the model's predictions by about

    KL(float || changed) = 1/2 E[(g·d)^2],   g = gradient of the loss there, for next tokens sampled from the model

to second order (the Fisher information). With d = x e, inputs times the weights' rounding error, one forward and one
backward pass measure all linears at once, in nats per token: their sum is about the increase of log perplexity.

The error of a linear's own output, relative to that output, is no substitute: on SmolLM2 it attributes 35 % of all cost
to values (`v_proj`, here 10 %) and 14 % to `down_proj` (here 46 %). With half of the bytes that 8 bits would add,
perplexity is 9.2 % over float if linears are chosen by it, 6.5 % if at random, and 4.2 % if by this measure.

Linears are computed in bfloat16 where the processor has it (`qairt.quant.tune.half`).

In memory: one block's weights and intermediate values for the chunks in progress, and the input of every block
(`qairt.quant.tune.blocks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model import decoder
from qairt.model.layout import EMBEDDING, LM_HEAD, head_names
from qairt.model.parameters import Parameters
from qairt.model.torch_ops import TorchOps, product, shared
from qairt.quant.bfloat16 import fastest_type
from qairt.quant.encodings import Encoding
from qairt.quant.measure.block_forward import block_forward
from qairt.quant.measure.overlay_ops import OverlayOps
from qairt.quant.precisions import linear_shapes
from qairt.quant.tune.blocks import HEAD_TOKENS, Backward, run_backward, run_forward
from qairt.quant.tune.half import half_where_faster
from qairt.quant.weight_grid import rounded_weight


def output_costs(
    parameters: Parameters,
    chunks: Sequence[NDArray[np.integer]],
    encodings: Mapping[str, Encoding],
    pool: ThreadPoolExecutor,
    *,
    changed: Parameters | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """The cost of rounding each weight with all others float, in nats per token.

    Args:
        chunks: token ids, each of one sequence from position 0. Four of 512 are enough to rank the linears.
        encodings: those of the weights to measure, by name.
        pool: from `qairt.quant.threads.one_thread_each`; the result does not depend on its size.
        changed: weights to round instead of `parameters`' own, if a technique changed them.
        seed: fixes the sampled next tokens.
        device: as torch names it.
    """
    ops, half = TorchOps(parameters, device=device), half_where_faster(parameters, device)
    kind = fastest_type(device)
    linears = linear_shapes(parameters.config)
    ops.hold([EMBEDDING])
    with torch.no_grad():
        embedded = [decoder.embed(ops, torch.from_numpy(np.asarray(chunk))[None].to(device)) for chunk in chunks]
    entering = run_forward(half, embedded, partial(_forward, half), pool)
    half.release()
    ops.hold([*head_names(parameters.config), LM_HEAD])
    last = entering.pop()
    gradients = list(pool.map(lambda place: _head_gradient(ops, last[place], seed + place), range(len(chunks))))

    def backward_of(layer: int) -> Backward[dict[str, float]]:
        names = [name for name in parameters.names_beside_experts(layer) if name in linears]
        errors = {
            name: _rounding_error(ops.weight(name), changed.read(name) if changed else None, encodings[name]).to(kind)
            for name in names
            if name in encodings
        }
        weights = {name: ops.weight(name).to(kind) for name in names}
        return partial(_backward, ops, layer, weights, errors)

    totals: dict[str, float] = {}
    for _, found in run_backward(ops, entering, gradients, backward_of, pool):
        for name in found[0]:
            totals[name] = sum(costs[name] for costs in found)
    ops.release()
    tokens = sum(len(chunk) for chunk in chunks)
    return {name: totals[name] / tokens for name in encodings if name in totals}


@torch.no_grad()
def _forward(ops: TorchOps, layer: int, hidden: Tensor) -> Tensor:
    return block_forward(ops, layer, hidden)[0]


def _backward(
    held: TorchOps,
    layer: int,
    weights: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    hidden: Tensor,
    gradient: Tensor,
) -> tuple[Tensor, dict[str, float]]:
    """The gradient at the block's input, and the cost of each weight's rounding summed over tokens."""
    ops = _CostOps(held, weights, errors)
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        [entering] = torch.autograd.grad(block_forward(ops, layer, hidden)[0], hidden, gradient)
    return entering, ops.costs


class _CostOps(OverlayOps):
    """Adds up the cost of the weights' errors during the backward pass."""

    def __init__(self, held: TorchOps, weights: Mapping[str, Tensor], errors: Mapping[str, Tensor]) -> None:
        super().__init__(held, weights)
        self._errors = errors
        self.costs: dict[str, float] = {}

    def linear(self, x: Tensor, weight: str, bias: str | None, *, out: str) -> Tensor:
        result = super().linear(x, weight, bias, out=out)
        if weight in self._errors:
            inputs = x.detach()

            @torch.no_grad()
            def add_cost(gradient: Tensor) -> None:
                moved = (gradient * product(inputs, self._errors[weight])).sum(-1)
                self.costs[weight] = float(moved.square().sum(dtype=torch.float64)) / 2

            result.register_hook(add_cost)  # type: ignore[no-untyped-call]
        return result


def _head_gradient(ops: TorchOps, hidden: Tensor, seed: int) -> Tensor:
    """The gradient at `hidden` of the log-likelihood of tokens sampled from the model's predictions."""
    generator = torch.Generator().manual_seed(seed)
    gradients: list[Tensor] = []
    for some in torch.split(hidden, HEAD_TOKENS, 1):
        with torch.enable_grad():
            some = some.detach().requires_grad_()
            logits = decoder.head(ops, ops.parameters.config, some)[0]
            drawn = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator)[:, 0]
            loss = torch.nn.functional.cross_entropy(logits, drawn.to(logits.device), reduction="sum")
            gradients += torch.autograd.grad(loss, some)
    return torch.cat(gradients, 1)


def _rounding_error(weight: Tensor, changed: NDArray[np.float32] | None, encoding: Encoding) -> Tensor:
    values = weight if changed is None else shared(changed).to(weight.device)
    return rounded_weight(values, encoding) - weight
