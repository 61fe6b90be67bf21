"""The operations of a decoder on torch tensors, with the weights that they read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.names import name_of_expert
from qairt.model.ops import AttendsAtOnce, Branch, ExpertMlp
from qairt.model.parameters import Parameters

T = TypeVar("T")

Tap = Callable[[str, Tensor], None]
"""Called with the name and value of every tensor the decoder computes, in order."""


class TorchOps(AttendsAtOnce[Tensor]):
    """`qairt.model.decoder.Ops` on torch tensors."""

    def __init__(
        self,
        parameters: Parameters,
        tap: Tap | None = None,
        device: torch.device | str = "cpu",
        branches: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """
        Args:
            device: where weights are held and computed with.
            branches: values of the LoRA branches' inputs, by name; a linear without any has no branch.
        """
        self.parameters = parameters
        self.tap = tap
        self.device = torch.device(device)
        self.branches = {name: shared(value).to(self.device) for name, value in (branches or {}).items()}
        self.keep_experts = True
        """Hold each expert's weights once they were read, as those of a layer; else one expert's at a time."""
        self._weights: dict[str, Tensor] = {}
        self._stores: list[dict[str, Any]] = [self._weights]
        """All that `release` lets go of."""
        self._reading = Lock()

    def weight(self, name: str) -> Tensor:
        """A parameter, read from disk unless it is already held; do not write to it."""
        return self._kept(self._weights, name, self._load)

    def _kept(self, store: dict[str, T], name: str, load: Callable[[str], T]) -> T:
        """What the store holds under a name, loaded once."""
        held = store.get(name)
        if held is None:
            with self._reading:  # threads that need the same expert read it once
                held = store.get(name)
                if held is None:
                    held = store[name] = load(name)
        return held

    def _load(self, name: str) -> Tensor:
        return shared(self.parameters.read(name)).to(self.device)

    def hold(self, names: Iterable[str]) -> None:
        """Release all weights and read these, before threads use them."""
        self.release()
        for name in names:
            self._read(name)

    def _read(self, name: str) -> None:
        self.weight(name)

    def _held(self) -> list[str]:
        """The names of what is held."""
        return [name for store in self._stores for name in list(store)]  # threads may add some

    def release(self, names: Iterable[str] | None = None) -> None:
        """Release these weights, or all."""
        for name in self._held() if names is None else names:
            for store in self._stores:
                store.pop(name, None)

    def embedding(self, ids: Tensor, weight: str, *, out: str) -> Tensor:
        return self._named(out, self.weight(weight)[ids.long()])

    def linear(self, x: Tensor, weight: str, bias: str | None, *, out: str) -> Tensor:
        found = self.product(x, weight)
        if bias is None:
            return self._named(out, found)
        return self._named(out, self._named(out + ".matmul", found) + self.weight(bias))

    def product(self, x: Tensor, weight: str) -> Tensor:
        """x [..., in] @ weight [in, out]."""
        return product(x, self.weight(weight))

    def rms_norm(self, x: Tensor, weight: str, epsilon: float, *, out: str) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)
        return self._named(out, x * scale * self.weight(weight))

    def scale(self, x: Tensor, weight: str, *, out: str) -> Tensor:
        return self._named(out, x * self.weight(weight))

    def shift(self, x: Tensor, weight: str, *, out: str) -> Tensor:
        return self._named(out, x + self.weight(weight))

    def mean(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, x.mean(-1, keepdim=True))

    def average(self, x: Tensor, weights: Tensor, *, out: str) -> Tensor:
        return self._named(out, self._named(f"{out}.weighted", weights * x).sum(1, keepdim=True))

    def add(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a + b)

    def sub(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a - b)

    def mul(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a * b)

    def sigmoid(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, torch.sigmoid(x))

    def tanh(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, torch.tanh(x))

    def relu(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, torch.relu(x))

    def minimum(self, x: Tensor, weight: str, *, out: str) -> Tensor:
        return self._named(out, torch.minimum(x, self.weight(weight)))

    def maximum(self, x: Tensor, weight: str, *, out: str) -> Tensor:
        return self._named(out, torch.maximum(x, self.weight(weight)))

    def largest(self, x: Tensor, count: int, size: int, chosen: str, others: str, *, out: str) -> Tensor:
        values = self.weight(others).expand(x.shape)
        return self._named(out, values.scatter(-1, x.topk(count, -1).indices, float(self.weight(chosen))))

    def experts(
        self, x: Tensor, routing: tuple[Tensor, Tensor], count: int, mlp: ExpertMlp, down: str, *, out: str
    ) -> Tensor:
        """Only what was chosen is computed, one expert at a time; tensors have the names of that expert."""
        chosen, weights = routing
        total = torch.zeros_like(x)
        for expert in range(count):
            tokens = tokens_of(chosen, expert)
            if len(tokens):
                gated = mlp(self, x[:, tokens], weights[:, tokens, expert : expert + 1], f"{expert}.", 1)
                total = total.index_add(1, tokens, self.product(gated, name_of_expert(down, expert)))
            if not self.keep_experts:
                self.release_expert(down, expert)
        return self._named(out, total)

    def release_expert(self, down: str, expert: int) -> None:
        """Release the weights of one expert, of those beside `down`."""
        prefix = name_of_expert(down, expert).rpartition("down_proj")[0]
        self.release([name for name in self._held() if name.startswith(prefix)])

    def gelu(self, x: Tensor, *, by_tanh: bool, out: str) -> Tensor:
        return self._named(out, torch.nn.functional.gelu(x, approximate="tanh" if by_tanh else "none"))

    def softmax(self, x: Tensor, *, out: str) -> Tensor:
        return self._named(out, torch.softmax(x, -1))

    def softmax_beside(self, x: Tensor, mask: Tensor, sinks: str, *, out: str) -> Tensor:
        sink = self._named(out + ".sink", mask.amax(-1, keepdim=True) + self.weight(sinks))
        joined = self._named(out + ".joined", torch.cat((x, sink.expand(*x.shape[:-1], 1)), -1))
        return self._moved(out, self._named(out + ".all", torch.softmax(joined, -1))[..., :-1])

    def matmul(self, a: Tensor, b: Tensor, *, out: str) -> Tensor:
        return self._named(out, a @ b)

    def slice(self, x: Tensor, start: int, end: int, *, axis: int, out: str) -> Tensor:
        stop = x.shape[axis] + end if end < 0 else end
        return self._moved(out, x.narrow(axis, start, stop - start))

    def pad(self, x: Tensor, before: int, after: int, *, out: str) -> Tensor:
        return self._moved(out, torch.nn.functional.pad(x, (0, 0, before, after)))

    def tail(self, x: Tensor, start: int, *, axis: int, out: str) -> Tensor:
        first = start % x.shape[axis] if start < 0 else start
        return self._moved(out, x.narrow(axis, first, x.shape[axis] - first))

    def concat(self, parts: Sequence[Tensor], *, axis: int, out: str) -> Tensor:
        return self._named(out, torch.cat(list(parts), axis))

    def reshape(self, x: Tensor, shape: Sequence[int], *, out: str) -> Tensor:
        return self._moved(out, x.reshape(tuple(shape)))

    def transpose(self, x: Tensor, order: Sequence[int], *, out: str) -> Tensor:
        return self._moved(out, x.permute(tuple(order)))

    def branch(self, module: str) -> Branch[Tensor] | None:
        return Branch.among(self.branches, module) if self.branches else None

    def _named(self, name: str, value: Tensor) -> Tensor:
        """A result, in memory of its own."""
        if self.tap is not None:
            self.tap(name, value)
        return value

    def _moved(self, name: str, value: Tensor) -> Tensor:
        """A result that may lie in the memory of another tensor."""
        return self._named(name, value)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x [..., in] @ weight [in, out] in the weight's precision; float32."""
    return x @ weight if weight.dtype == x.dtype else (x.to(weight.dtype) @ weight).float()


def tokens_of(chosen: Tensor, expert: int) -> Tensor:
    """The tokens of [1, AR, experts] that are given to an expert."""
    return chosen[0, :, expert].nonzero()[:, 0]


def shared(values: NDArray[np.float32]) -> Tensor:
    """A tensor on the same memory. Torch warns that a mapped file is read-only; no caller writes to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values)
