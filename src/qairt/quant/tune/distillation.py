"""Scales and norms, tuned on what the whole model says.

Techniques look at a linear or a block, and a lower error there is not yet a better model. What is left is tuned end to
end: the integers of all weights stay, and what the NPU holds as floats (or 16 bits) anyway, the scale of each output
channel and the weights of the norms, goes some steps down the gradient of

    KL(float || quantized) of the next token, on text that the weights were not chosen on

The grid stays exact, for a channel's scale is a factor of the whole channel. A few chunks are set aside; where the loss
there did not fall, nothing is changed.

In memory: one block's weights, lm_head, what enters each block for the chunks at work, and the float model's last
hidden states of all chunks.

Source: knowledge distillation as in LLM-QAT (Liu et al. 2023); scales alone as in EfficientQAT (Chen et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qairt.model import decoder
from qairt.model.layout import EMBEDDING, FINAL_NORM, LM_HEAD
from qairt.model.parameters import Parameters
from qairt.model.reference import TorchOps
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.measure.calibration import Calibration, Given
from qairt.quant.measure.whole_block import whole_block
from qairt.quant.progress import Progress, within
from qairt.quant.simulate import SimulatedOps, rounded_weight
from qairt.quant.structure import Structure

AT_ONCE = 2
"""Chunks a step looks at, side by side."""
ASIDE = 4
"""Chunks that the loss is looked at on, before and after."""
GROUP = 16
"""Chunks that go through the float model together."""
HEAD_TOKENS = 128
"""Tokens that go through the head at once, for it may be far wider than a block."""
KEPT_AFTER = 5
"""Steps."""
WARM_UP = 5
"""Steps in which the rate grows."""
BETAS, EPSILON = (0.9, 0.95), 1e-8
"""Of Adam."""

Chunk = NDArray[np.integer]


@dataclass(frozen=True)
class Distilled:
    """Factors that make the quantized model say what the float one does."""

    factors: Mapping[str, NDArray[np.float32]]
    """By weight: of a linear one an output channel, of a norm one a channel."""
    before: float
    """Nats a token that the chunks set aside lost."""
    after: float


def distill(
    parameters: Parameters,
    quantized: Parameters,
    encodings: Mapping[str, Encoding],
    chunks: Sequence[Chunk],
    *,
    steps: int,
    rate: float,
    seed: int,
    pool: ThreadPoolExecutor,
    device: str = "cpu",
    keep: Path | None = None,
    work: str = "",
    progress: Progress = lambda fraction, message: None,
) -> Distilled:
    """Tune the scales of linears and the weights of norms.

    Args:
        parameters: the float model's.
        quantized: the same with linears whose values are on their grids.
        encodings: of weights, by name.
        chunks: token ids, each of one sequence from position 0; more than `ASIDE`.
        steps: each on `AT_ONCE` chunks.
        rate: how far a factor goes in a step.
        seed: of the order of chunks.
        pool: from `qairt.quant.measure.calibration.one_thread_each`; the result does not depend on its size.
        device: where it is computed, as torch names it.
        keep: a file for what was done so far: after a kill, the same call goes on from there.
        work: what is being done, as a digest: what other work left there is not used.
    """
    embedded, targets = _through_float(parameters, chunks, pool, device, within(progress, 0.0, 0.1))
    model = _Tuned(quantized, encodings, embedded, pool, device)
    aside, learned = range(ASIDE), range(ASIDE, len(chunks))
    before = model.loss(aside, targets)
    adam = _Adam(model.factors, rate, steps)
    kept = _Kept(keep, work, adam) if keep is not None else None
    order = torch.Generator().manual_seed(seed)
    places: list[int] = []
    for step in range(steps):
        while len(places) < AT_ONCE:
            places += [learned[place] for place in torch.randperm(len(learned), generator=order).tolist()]
        here, places = places[:AT_ONCE], places[AT_ONCE:]
        if step < adam.done:
            continue
        progress(0.1 + 0.88 * step / steps, f"step {step + 1} of {steps}")
        adam.step(model.gradients(here, targets))
        if kept is not None and (step + 1) % KEPT_AFTER == 0:
            kept.save()
    after = model.loss(aside, targets)
    tuned = model.factors if after < before else {}
    return Distilled({name: value.cpu().numpy() for name, value in tuned.items()}, before, min(after, before))


class _Tuned:
    """The quantized model with a factor for each channel of its linears and norms, all 1 at first."""

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
            embedded: what leaves the float embedding, [1, tokens, hidden] by chunk.
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
        self._ops = TorchOps(quantized, device=device)
        self._head = SimulatedOps(quantized, Encodings(params={LM_HEAD: encodings[LM_HEAD]}), device)
        self._head.hold((FINAL_NORM, LM_HEAD))
        self._entering = [rounded_weight(hidden, encodings[EMBEDDING]) for hidden in embedded]

    def loss(self, places: Sequence[int], targets: Sequence[Tensor]) -> float:
        """Nats a token."""
        last = self._forward(places)[-1]
        found = self._pool.map(lambda one: self._head_loss(one[0], targets[one[1]])[0], zip(last, places, strict=True))
        return sum(found) / sum(targets[place].shape[1] for place in places)

    def gradients(self, places: Sequence[int], targets: Sequence[Tensor]) -> dict[str, Tensor]:
        """Of the loss by the factors."""
        entering = self._forward(places)
        last = entering.pop()
        results = list(
            self._pool.map(lambda one: self._head_loss(one[0], targets[one[1]]), zip(last, places, strict=True))
        )
        found = {FINAL_NORM: torch.stack([norm for _, _, norm in results]).sum(0)}
        flowing = [hidden for _, hidden, _ in results]
        for layer in reversed(range(self._config.num_layers)):
            names = self._load(layer)
            back = list(self._pool.map(partial(self._back, layer, names), entering.pop(), flowing))
            flowing = [hidden for hidden, _ in back]
            for name, *parts in zip(names, *(factors for _, factors in back), strict=True):
                found[name] = torch.stack(parts).sum(0)
        self._ops.release()
        return found

    @torch.no_grad()
    def _forward(self, places: Sequence[int]) -> list[list[Tensor]]:
        """What enters each block, and what leaves the last."""
        entering = [[self._entering[place] for place in places]]
        for layer in range(self._config.num_layers):
            self._load(layer)
            entering.append(list(self._pool.map(partial(self._run, layer), entering[-1])))
        return entering

    def _load(self, layer: int) -> list[str]:
        """The block's weights; names of those that have factors."""
        names = self._parameters.layer_names(layer)
        self._ops.hold(names)
        return [name for name in names if name in self.factors]

    @torch.no_grad()
    def _run(self, layer: int, hidden: Tensor) -> Tensor:
        return whole_block(_Scaled(self._ops, self.factors), layer, hidden)

    def _back(self, layer: int, names: Sequence[str], hidden: Tensor, gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad():
            factors = {name: self.factors[name].detach().requires_grad_() for name in names}
            hidden = hidden.detach().requires_grad_()
            left = whole_block(_Scaled(self._ops, factors), layer, hidden)
            entering, *found = torch.autograd.grad(left, [hidden, *factors.values()], gradient)
        return entering, found

    def _head_loss(self, hidden: Tensor, target: Tensor) -> tuple[float, Tensor, Tensor]:
        """Nats, and the gradients by `hidden` and by the final norm's factors."""
        total, flowing, by_norm = 0.0, [], torch.zeros_like(self.factors[FINAL_NORM])
        tokens = hidden.shape[1]
        for some, float_some in zip(*(torch.split(one, HEAD_TOKENS, 1) for one in (hidden, target)), strict=True):
            with torch.no_grad():
                wanted = decoder.head(self._head, self._config, float_some)[0].log_softmax(-1)
            with torch.enable_grad():
                factor = self.factors[FINAL_NORM].detach().requires_grad_()
                some = some.detach().requires_grad_()
                found = decoder.head(_Scaled(self._head, {FINAL_NORM: factor}), self._config, some)[0].log_softmax(-1)
                loss = (wanted.exp() * (wanted - found)).sum()
                one, other = torch.autograd.grad(loss / tokens, [some, factor])
            total += float(loss.detach())
            flowing.append(one)
            by_norm += other
        return total, torch.cat(flowing, 1), by_norm


class _Scaled(Given):
    """With factors by name."""

    def __init__(self, held: TorchOps, factors: Mapping[str, Tensor]) -> None:
        super().__init__(held, {})
        self._factors = factors

    def weight(self, name: str) -> Tensor:
        value, factor = super().weight(name), self._factors.get(name)
        return value if factor is None else value * factor

    def linear(self, x: Tensor, weight: str, bias: str | None, *, out: str) -> Tensor:
        product, factor = x @ super().weight(weight), self._factors.get(weight)
        if factor is not None:
            product = product * factor
        return product if bias is None else product + super().weight(bias)


class _Adam:
    """Adam with a rate that grows, then falls along a cosine."""

    def __init__(self, values: Mapping[str, Tensor], rate: float, steps: int) -> None:
        self.values = values
        self._rate = rate
        self._steps = steps
        self.done = 0
        self.moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in values.items()}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Change the values in place."""
        share = min(1.0, (self.done + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.done / self._steps))
        self.done += 1
        unbiased = [1 - beta**self.done for beta in BETAS]
        for name, gradient in gradients.items():
            first, second = self.moments[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            size = (second / unbiased[1]).sqrt_().add_(EPSILON)
            self.values[name].sub_(first / unbiased[0] / size, alpha=share * self._rate)


class _Kept:
    """The state of the tuning in a file."""

    def __init__(self, path: Path, work: str, adam: _Adam) -> None:
        self._path = path
        self._work = work
        self._adam = adam
        self._load()

    def save(self) -> None:
        """Replaces the file at once."""
        adam = self._adam
        state = {f"value {name}": value.cpu() for name, value in adam.values.items()}
        for name, moments in adam.moments.items():
            state |= {f"moment {which} {name}": moment.cpu() for which, moment in enumerate(moments)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.partial")
        save_file(state, partial, {"work": self._work, "done": str(adam.done)})
        partial.replace(self._path)

    def _load(self) -> None:
        """Nothing is used of a file that is damaged or of other work."""
        try:
            with safe_open(self._path, "pt") as file:
                about = file.metadata() or {}
                if about.get("work") != self._work:
                    return
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError):
            return
        adam = self._adam
        for name, value in adam.values.items():
            value.copy_(state[f"value {name}"])
            for which, moment in enumerate(adam.moments[name]):
                moment.copy_(state[f"moment {which} {name}"])
        adam.done = int(about["done"])


def _through_float(
    parameters: Parameters, chunks: Sequence[Chunk], pool: ThreadPoolExecutor, device: str, progress: Progress
) -> tuple[list[Tensor], list[Tensor]]:
    """What leaves the float model's embedding and its last block, [1, tokens, hidden] by chunk."""
    first: list[Tensor] = []
    last: list[Tensor] = []
    layers = parameters.config.num_layers
    for start in range(0, len(chunks), GROUP):
        group = chunks[start : start + GROUP]
        calibration = Calibration(parameters, group, lambda name, value: None, pool, device=torch.device(device))
        calibration.embed(lambda token, rows: None)
        first += calibration.hidden
        for layer in range(layers):
            calibration.block(layer)
            progress((start + len(group) * (layer + 1) / layers) / len(chunks), "float model")
        last += calibration.hidden
        calibration.release()
    return first, last
