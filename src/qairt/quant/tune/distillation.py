"""Tunes scales and norms on the output of the whole model.

Techniques minimize the error of a linear or a block, which does not always give the best model. The rest is tuned end
to end: the integers of all weights stay, and what the NPU holds as floats (or 16 bits) anyway, the scale of each output
channel and the weights of the norms, takes some steps down the gradient of

    KL(float || quantized) of the next token, on text that the weights were not chosen on

The grid stays exact, because a channel's scale is a factor of the whole channel. Gradients are computed in bfloat16
where the processor has it (`qairt.quant.tune.half`). A few chunks are held out; if the loss
on them does not fall, nothing is changed.

In memory: one block's weights, lm_head, the input of each block for the chunks in progress, and the float model's last
hidden states of all chunks.

Source: knowledge distillation as in LLM-QAT (Liu et al. 2023); scales alone as in EfficientQAT (Chen et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model import decoder
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD, head_names
from qairt.model.parameters import Parameters
from qairt.model.torch_ops import TorchOps
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.execution import Execution, Progress, within
from qairt.quant.measure.block_forward import block_forward
from qairt.quant.measure.calibration import Calibration
from qairt.quant.measure.overlay_ops import OverlayOps
from qairt.quant.simulate import SimulatedOps
from qairt.quant.structure import Structure
from qairt.quant.threads import one_thread_each
from qairt.quant.tune.adam import Adam
from qairt.quant.tune.blocks import HEAD_TOKENS, Backward, outputs_of_blocks, run_backward, run_forward
from qairt.quant.tune.half import half_where_faster
from qairt.quant.tune.training import train
from qairt.quant.weight_grid import rounded_weight

HELD_OUT = 4
"""Chunks that the loss is measured on, before and after."""
GROUP = 16
"""Chunks that go through the float model together."""

Chunk = NDArray[np.integer]


@dataclass(frozen=True)
class Distilled:
    """Factors that bring the quantized model's predictions closer to the float model's."""

    factors: Mapping[str, NDArray[np.float32]]
    """By weight: one per output channel of a linear, one per channel of a norm. Empty if nothing was gained."""
    before: float
    """Loss on the held-out chunks, nats per token."""
    after: float


def distill(
    parameters: Parameters,
    quantized: Parameters,
    encodings: Mapping[str, Encoding],
    chunks: Sequence[Chunk],
    config: TechniqueConfig,
    *,
    work: str = "",
    execution: Execution,
) -> Distilled:
    """Tune the scales of linears and the weights of norms.

    Args:
        parameters: those of the float model.
        quantized: the same with linears whose values are on their grids.
        encodings: those of all weights, by name.
        chunks: token ids, each of one sequence from position 0; more than `HELD_OUT`.
        config: `distillation_steps`, each on two chunks; `distillation_rate`; `seed` of their order.
        work: digest of what is being done; saved steps of other work are not used.
        execution: its folder keeps the steps done.
    """
    progress = execution.progress
    with one_thread_each(execution.threads, execution.device) as pool:
        embedded, targets = _float_states(parameters, chunks, pool, execution.device, within(progress, 0.0, 0.1))
        model = _TunedModel(quantized, encodings, embedded, pool, execution.device)
        held_out, learned = range(HELD_OUT), range(HELD_OUT, len(chunks))
        before = model.loss(held_out, targets)
        train(
            Adam(model.factors, config.distillation_rate, config.distillation_steps),
            learned,
            lambda places: model.gradients(places, targets),
            seed=config.seed,
            work=work,
            folder=execution.folder,
            progress=within(progress, 0.1, 0.98),
        )
        after = model.loss(held_out, targets)
    tuned = model.factors if after < before else {}
    return Distilled({name: value.cpu().numpy() for name, value in tuned.items()}, before, min(after, before))


class _TunedModel:
    """The quantized model with a factor for each channel of its linears and norms, initially 1."""

    def __init__(
        self,
        quantized: Parameters,
        encodings: Mapping[str, Encoding],
        embedded: Sequence[Tensor],
        pool: ThreadPoolExecutor,
        device: str,
    ) -> None:
        """
        Args:
            embedded: the float embedding's output, [1, tokens, hidden] by chunk.
        """
        self._parameters = quantized
        self._config = quantized.config
        self._pool = pool
        structure = Structure(self._config)
        linears = {linear.weight for linear in structure.linears} - {LM_HEAD}
        self.factors = {
            name: torch.ones(quantized.shape(name)[-1], device=device)
            for name in quantized.names()
            if name in linears or name in structure.norms
        }
        # Linears are on their grids already; a norm's 16 bits are fitted to it in the end.
        self._exact = TorchOps(quantized, device=device)
        self._ops = half_where_faster(quantized, device)
        """For gradients; losses are compared with exact ones."""
        self._head = SimulatedOps(quantized, Encodings(params={LM_HEAD: encodings[LM_HEAD]}), device)
        self._head.hold([*head_names(quantized.config), LM_HEAD])
        self._entering = [rounded_weight(hidden, encodings[EMBEDDING]) for hidden in embedded]

    def loss(self, places: Sequence[int], targets: Sequence[Tensor]) -> float:
        """Nats per token."""
        last = self._forward(self._exact, places)[-1]
        self._exact.release()
        found = self._head_losses(last, places, targets)
        return sum(nats for nats, _, _ in found) / sum(targets[place].shape[1] for place in places)

    def gradients(self, places: Sequence[int], targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Of the loss with respect to the factors."""
        entering = self._forward(self._ops, places)
        results = self._head_losses(entering.pop(), places, targets)
        gradients = {FINAL_NORM: torch.stack([norm for _, _, norm in results]).sum(0)}
        flowing = [hidden for _, hidden, _ in results]
        for layer, found in run_backward(self._ops, entering, flowing, self._backward_of, self._pool):
            for name, *parts in zip(self._tuned_names(layer), *found, strict=True):
                gradients[name] = torch.stack(parts).sum(0)
        self._ops.release()
        return gradients

    @torch.no_grad()
    def _forward(self, ops: TorchOps, places: Sequence[int]) -> list[list[Tensor]]:
        """The input of each block, and the output of the last."""
        return run_forward(ops, [self._entering[place] for place in places], partial(self._run, ops), self._pool)

    def _tuned_names(self, layer: int) -> list[str]:
        return [name for name in self._parameters.layer_names(layer) if name in self.factors]

    @torch.no_grad()
    def _run(self, ops: TorchOps, layer: int, hidden: Tensor) -> Tensor:
        return block_forward(_ScaledOps(ops, self.factors), layer, hidden)[0]

    def _backward_of(self, layer: int) -> Backward[list[Tensor]]:
        return partial(self._backward, layer, self._tuned_names(layer))

    def _backward(
        self, layer: int, names: Sequence[str], hidden: Tensor, gradient: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad():
            factors = {name: self.factors[name].detach().requires_grad_() for name in names}
            hidden = hidden.detach().requires_grad_()
            output = block_forward(_ScaledOps(self._ops, factors), layer, hidden)[0]
            entering, *found = torch.autograd.grad(output, [hidden, *factors.values()], gradient)
        return entering, found

    def _head_losses(
        self, last: Sequence[Tensor], places: Sequence[int], targets: Sequence[Tensor]
    ) -> list[tuple[float, Tensor, Tensor]]:
        return list(self._pool.map(self._head_loss, last, [targets[place] for place in places]))

    def _head_loss(self, hidden: Tensor, target: Tensor) -> tuple[float, Tensor, Tensor]:
        """Nats, and the gradients with respect to `hidden` and to the final norm's factors."""
        total, flowing, by_norm = 0.0, [], torch.zeros_like(self.factors[FINAL_NORM])
        tokens = hidden.shape[1]
        for some, float_some in zip(*(torch.split(one, HEAD_TOKENS, 1) for one in (hidden, target)), strict=True):
            with torch.no_grad():
                wanted = decoder.head(self._head, self._config, float_some)[0].log_softmax(-1)
            with torch.enable_grad():
                factor = self.factors[FINAL_NORM].detach().requires_grad_()
                some = some.detach().requires_grad_()
                ops = _ScaledOps(self._head, {FINAL_NORM: factor})
                found = decoder.head(ops, self._config, some)[0].log_softmax(-1)
                loss = (wanted.exp() * (wanted - found)).sum()
                by_hidden, by_factor = torch.autograd.grad(loss / tokens, [some, factor])
            total += float(loss.detach())
            flowing.append(by_hidden)
            by_norm += by_factor
        return total, torch.cat(flowing, 1), by_norm


class _ScaledOps(OverlayOps):
    """With factors by name."""

    def __init__(self, held: TorchOps, factors: Mapping[str, Tensor]) -> None:
        super().__init__(held, {})
        self._factors = factors

    def weight(self, name: str) -> Tensor:
        value, factor = super().weight(name), self._factors.get(name)
        return value if factor is None else value * factor

    def linear(self, x: Tensor, weight: str, bias: str | None, *, out: str) -> Tensor:
        result = self.product(x, weight)
        return result if bias is None else result + super().weight(bias)

    def product(self, x: Tensor, weight: str) -> Tensor:
        """The factors are those of the product's channels."""
        result, factor = self._stored.product(x, weight), self._factors.get(weight)
        return result if factor is None else result * factor


def _float_states(
    parameters: Parameters, chunks: Sequence[Chunk], pool: ThreadPoolExecutor, device: str, progress: Progress
) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs of the float model's embedding and of its last block, [1, tokens, hidden] by chunk.

    Those of the first `HELD_OUT` are exact.
    """
    calibration = Calibration(parameters, chunks, lambda name, value: None, pool, device=torch.device(device))
    calibration.embed(lambda token, rows: None)
    embedded = calibration.hidden
    calibration.release()
    last: list[Tensor] = []
    for start, stop in pairwise((0, *range(HELD_OUT, len(chunks), GROUP), len(chunks))):
        ops = half_where_faster(parameters, device) if start else TorchOps(parameters, device=device)
        done = within(progress, start / len(chunks), stop / len(chunks))
        last += _through_blocks(ops, embedded[start:stop], pool, done)
    return embedded, last


def _through_blocks(
    ops: TorchOps, hidden: Sequence[Tensor], pool: ThreadPoolExecutor, progress: Progress
) -> Sequence[Tensor]:
    """The output of the last block by chunk."""

    @torch.no_grad()
    def forward(layer: int, hidden: Tensor) -> Tensor:
        return block_forward(ops, layer, hidden)[0]

    last, layers = hidden, ops.parameters.config.num_layers
    for done, outputs in enumerate(outputs_of_blocks(ops, hidden, forward, pool), start=1):
        last = outputs
        progress(done / layers, "float model")
    ops.release()
    return last
