"""Trains a LoRA adapter further, on the weights as they are quantized: the adapter then makes up for their rounding.

    loss     cross entropy of the next token
    weights  on their grids; A and B, norms and activations in float

In memory: one block's weights, lm_head, and the input of each block for the chunks in progress. If the loss on the
chunks that are held out does not fall, the adapter stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model import decoder
from qairt.model.layout import EMBEDDING, LM_HEAD, head_names
from qairt.model.lora.adapted import Adapter
from qairt.model.names import branch_names
from qairt.model.parameters import Parameters
from qairt.quant.encodings import Encodings
from qairt.quant.execution import Execution
from qairt.quant.measure.block_forward import block_forward
from qairt.quant.measure.overlay_ops import OverlayOps
from qairt.quant.simulate import SimulatedOps
from qairt.quant.threads import one_thread_each
from qairt.quant.tune.adam import Adam
from qairt.quant.tune.blocks import HEAD_TOKENS, Backward, run_backward, run_forward
from qairt.quant.tune.branch_folding import BranchFolding
from qairt.quant.tune.training import train

HELD_OUT = 2
"""Chunks that the loss is measured on, before and after."""

Chunk = NDArray[np.integer]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Training:
    """How an adapter is trained."""

    steps: int = 60
    """Each on `qairt.quant.tune.training.CHUNKS_PER_STEP` chunks."""
    length: int = 128
    """Tokens of a chunk."""
    rate: float = 5e-4
    """Of Adam. With SmolLM2-135M in 4 bits, 60 steps win back 45 % of what quantization cost at 2e-4, 69 % at 5e-4
    (`tests/bench/lora.py --tune 60`)."""


@dataclass(frozen=True)
class TunedAdapter:
    """An adapter after training."""

    tensors: Mapping[str, Floats]
    """Every A [rank, in] and B [out, rank], by its name in the adapter's file."""
    before: float
    """Loss on the held-out chunks, nats per token."""
    after: float


def tune_adapter(
    parameters: Parameters,
    encodings: Encodings,
    adapter: Adapter,
    chunks: Sequence[Chunk],
    training: Training,
    *,
    work: str,
    execution: Execution,
) -> TunedAdapter:
    """Train an adapter.

    Args:
        parameters: those that quantization left.
        encodings: those of all weights.
        chunks: token ids, each of one sequence; more than `HELD_OUT`.
        work: digest of what is being done; saved steps of other work are not used.
        execution: its folder keeps the steps done.

    Raises:
        QuantizationError: there is too little text.
    """
    if len(chunks) <= HELD_OUT:
        raise QuantizationError(
            f"training needs {HELD_OUT + 1} sequences, the text has {len(chunks)}",
            where="--data",
            remedy="give a longer text, or a smaller --length",
        )
    with one_thread_each(execution.threads, execution.device) as pool:
        model = _Model(parameters, encodings, adapter, chunks, execution.device)
        held_out, learned = range(HELD_OUT), range(HELD_OUT, len(chunks))
        execution.progress(0.0, "measuring the adapter as it is")
        before = model.loss(held_out, pool)
        start = {name: value.clone() for name, value in model.tensors.items()}
        train(
            Adam(model.tensors, training.rate, training.steps),
            learned,
            lambda places: model.gradients(places, pool),
            seed=0,
            work=work,
            folder=execution.folder,
            progress=execution.progress,
        )
        after = model.loss(held_out, pool)
    kept = model.tensors if after < before else start
    return TunedAdapter({name: value.cpu().numpy() for name, value in kept.items()}, before, min(after, before))


class _Model:
    """The quantized weights with the adapter's branches, whose A and B are trained as they are stored."""

    def __init__(
        self, parameters: Parameters, encodings: Encodings, adapter: Adapter, chunks: Sequence[Chunk], device: str
    ) -> None:
        config = parameters.config
        self._ids = [torch.as_tensor(np.asarray(chunk, np.int64), device=device) for chunk in chunks]
        self._config = config
        self._ops = SimulatedOps(parameters, Encodings(params=encodings.params), device)
        self._head = SimulatedOps(parameters, Encodings(params=encodings.params), device)
        self._head.hold([EMBEDDING])
        with torch.no_grad():
            self._entering = [decoder.embed(self._head, ids[None]) for ids in self._ids]
        self._head.hold([*head_names(config), LM_HEAD])
        self.tensors: dict[str, Tensor] = {}
        self._folding = BranchFolding(parameters, device)
        self._modules: dict[str, tuple[str, str, slice, float]] = {}
        """By linear: its A and B in the file, its rows of B, and their scaling."""
        parts: dict[str, list[Floats]] = {}
        for name, module in adapter.modules.items():
            a, b = module.a, module.b
            parts.setdefault(module.stored_b.tensor, [])
            first = sum(len(each) for each in parts[module.stored_b.tensor])
            parts[module.stored_b.tensor].append(np.ascontiguousarray(b.T))
            self.tensors[module.stored_a.tensor] = torch.tensor(np.ascontiguousarray(a.T), device=device)
            rows = slice(first, first + b.shape[1])
            self._modules[name] = (module.stored_a.tensor, module.stored_b.tensor, rows, module.scaling)
        for tensor, found in parts.items():
            self.tensors[tensor] = torch.tensor(np.concatenate(found), device=device)

    def loss(self, places: Sequence[int], pool: Executor) -> float:
        """Nats per token."""
        last = self._forward(places, pool)[-1]
        found = [self._head_loss(hidden, self._ids[place]) for hidden, place in zip(last, places, strict=True)]
        return sum(nats for nats, _ in found) / len(found)

    def gradients(self, places: Sequence[int], pool: Executor) -> dict[str, Tensor]:
        """Of the loss with respect to every A and B."""
        entering = self._forward(places, pool)
        last = entering.pop()
        flowing = [self._head_loss(hidden, self._ids[place])[1] for hidden, place in zip(last, places, strict=True)]
        gradients = {name: torch.zeros_like(value) for name, value in self.tensors.items()}
        for _, found in run_backward(self._ops, entering, flowing, self._backward_of, pool):
            for by_name in found:
                for name, gradient in by_name.items():
                    gradients[name] += gradient / len(places)
        self._ops.release()
        return gradients

    @torch.no_grad()
    def _forward(self, places: Sequence[int], pool: Executor) -> list[list[Tensor]]:
        return run_forward(self._ops, [self._entering[place] for place in places], self._run, pool)

    def _branches(self, layer: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values of the branch inputs of one layer."""
        found: dict[str, Tensor] = {}
        for name, (a, b, rows, scaling) in self._modules.items():
            if name.startswith(f"model.layers.{layer}."):
                first, second = branch_names(name)
                found[first] = self._folding.a(name, tensors[a].T)
                found[second] = self._folding.b(name, tensors[b][rows].T) * scaling
        return found

    def _names(self, layer: int) -> list[str]:
        prefix = f"model.layers.{layer}."
        found = [each for name, (a, b, *_) in self._modules.items() if name.startswith(prefix) for each in (a, b)]
        return list(dict.fromkeys(found))

    @torch.no_grad()
    def _run(self, layer: int, hidden: Tensor) -> Tensor:
        ops = OverlayOps(self._ops, {}, branches=self._branches(layer, self.tensors))
        return block_forward(ops, layer, hidden)[0]

    def _backward_of(self, layer: int) -> Backward[dict[str, Tensor]]:
        return partial(self._backward, layer)

    def _backward(self, layer: int, hidden: Tensor, gradient: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.enable_grad():
            tensors = {name: self.tensors[name].detach().requires_grad_() for name in self._names(layer)}
            hidden = hidden.detach().requires_grad_()
            ops = OverlayOps(self._ops, {}, branches=self._branches(layer, tensors))
            output = block_forward(ops, layer, hidden)[0]
            entering, *found = torch.autograd.grad(output, [hidden, *tensors.values()], gradient)
        return entering, dict(zip(tensors, found, strict=True))

    def _head_loss(self, hidden: Tensor, ids: Tensor) -> tuple[float, Tensor]:
        """Nats per token, and the gradient with respect to the last block's output."""
        total, flowing, count = 0.0, [], hidden.shape[1] - 1
        for start in range(0, hidden.shape[1], HEAD_TOKENS):
            some = hidden[:, start : start + HEAD_TOKENS].detach().requires_grad_()
            wanted = ids[start + 1 : start + 1 + some.shape[1]]
            with torch.enable_grad():
                logits = decoder.head(self._head, self._config, some)[0][: len(wanted)]
                loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum") / count
                (gradient,) = torch.autograd.grad(loss, [some])
            total += float(loss.detach())
            flowing.append(gradient)
        return total, torch.cat(flowing, 1)
