"""The operations that a decoder is written in.

torch computes them (`qairt.model.torch_ops`), ONNX describes them (`qairt.graph.build`), and `qairt.quant.structure`
derives from them which tensors there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from qairt.model.names import ALPHA, branch_map, branch_names

T = TypeVar("T")


@dataclass(frozen=True)
class Branch(Generic[T]):
    """A LoRA branch beside a linear: (x @ a) @ b; where it is switched, (x @ a * (alpha @ columns)) @ b."""

    a: T
    """[in, R]"""
    b: T
    """[R, out]"""
    switch: tuple[T, T] | None = None
    """alpha [1, 1, adapters], and columns [adapters, R] of 0 and 1: the adapter that each column belongs to."""

    @classmethod
    def among(cls, values: Mapping[str, T], module: str) -> Branch[T] | None:
        """That of the linear `module` among values by name; None if it has none."""
        a, b = branch_names(module)
        if a not in values:
            return None
        columns = branch_map(module)
        return cls(values[a], values[b], (values[ALPHA], values[columns]) if columns in values else None)


ExpertMlp = Callable[["BlockOps[Any]", Any, Any, str, int], Any]
"""The gated MLPs of some experts up to their last linear: operations, x [1, tokens, hidden], their weights for each
token [1, tokens, experts], what follows `experts.` in names, and how many experts -> [1, tokens, experts * width]."""


Attention = Callable[[Any, Any, Any, Any, Any], Any]
"""`BlockOps`, queries [KV, G, AR, dim], keys [KV, 1, dim, CL], values [KV, 1, CL, dim], and an additive mask
[1, 1, AR, CL], 0 at what a token attends to -> [KV, G, AR, dim]."""


class BlockOps(Protocol[T]):
    """The operations of a decoder layer and of the head. `out` names the result; every name is used once."""

    def linear(self, x: T, weight: str, bias: str | None, *, out: str) -> T:
        """x [..., in] @ weight [in, out] (+ bias [out]). With a bias, the product is named `{out}.matmul`."""

    def rms_norm(self, x: T, weight: str, epsilon: float, *, out: str) -> T:
        """x / sqrt(mean(x^2, last axis) + epsilon) * weight."""

    def scale(self, x: T, weight: str, *, out: str) -> T:
        """x times a parameter that broadcasts to it."""

    def shift(self, x: T, weight: str, *, out: str) -> T:
        """x plus a parameter that broadcasts to it."""

    def mean(self, x: T, *, out: str) -> T:
        """Over the last axis, which remains with size 1."""

    def average(self, x: T, weights: T, *, out: str) -> T:
        """x [1, AR, n] -> [1, 1, n], by weights [1, AR, 1] that add up to 1. Their products are named
        `{out}.weighted`."""

    def add(self, a: T, b: T, *, out: str) -> T: ...

    def sub(self, a: T, b: T, *, out: str) -> T: ...

    def mul(self, a: T, b: T, *, out: str) -> T: ...

    def sigmoid(self, x: T, *, out: str) -> T: ...

    def tanh(self, x: T, *, out: str) -> T: ...

    def relu(self, x: T, *, out: str) -> T: ...

    def gelu(self, x: T, *, by_tanh: bool, out: str) -> T:
        """x times the normal distribution function at x, or its approximation by tanh."""

    def attend(self, attention: Attention, q: T, keys: T, values: T, mask: T) -> T:
        """What `attention` gives; of all queries at once, or of some at a time, with the keys up to their last."""

    def softmax(self, x: T, *, out: str) -> T:
        """Over the last axis."""

    def softmax_beside(self, x: T, mask: T, sinks: str, *, out: str) -> T:
        """The softmax of scores x [KV, G, AR, CL] and one score more, the parameter `sinks` [KV, G, 1, 1], whose share
        is left out.

        Args:
            mask: additive, 0 at what a token attends to.
        """

    def matmul(self, a: T, b: T, *, out: str) -> T: ...

    def minimum(self, x: T, weight: str, *, out: str) -> T:
        """Of x and a parameter that broadcasts to it."""

    def maximum(self, x: T, weight: str, *, out: str) -> T: ...

    def largest(self, x: T, count: int, size: int, chosen: str, others: str, *, out: str) -> T:
        """The parameter `chosen` where x is among the `count` largest of its last axis, the parameter `others`
        elsewhere; both [1].

        Args:
            size: of that axis.
        """

    def experts(self, x: T, routing: tuple[T, T], count: int, mlp: ExpertMlp, down: str, *, out: str) -> T:
        """The sum of all experts, each times its weight.

        Args:
            x: [1, AR, hidden].
            routing: positive where a token is given to an expert, and the experts' weights, about 0 for all others;
                both [1, AR, experts].
            count: of experts.
            down: the weight of the last linear, [experts * width, hidden].
        """

    def slice(self, x: T, start: int, end: int, *, axis: int, out: str) -> T:
        """Up to `end`, which counts from the end of the axis if it is negative."""

    def pad(self, x: T, before: int, after: int, *, out: str) -> T:
        """x [1, tokens, n] -> [1, before + tokens + after, n], zeros around it."""

    def tail(self, x: T, start: int, *, axis: int, out: str) -> T:
        """All from `start` on; the last `-start` if it is negative."""

    def concat(self, parts: Sequence[T], *, axis: int, out: str) -> T: ...

    def reshape(self, x: T, shape: Sequence[int], *, out: str) -> T:
        """`shape` holds at most one -1 and never the literal AR or CL."""

    def transpose(self, x: T, order: Sequence[int], *, out: str) -> T: ...

    def branch(self, module: str) -> Branch[T] | None:
        """The LoRA branch beside the linear `module`; None if it has none."""


class AttendsAtOnce(Generic[T]):
    """`BlockOps.attend` of all queries at once."""

    def attend(self, attention: Attention, q: T, keys: T, values: T, mask: T) -> T:
        found: T = attention(self, q, keys, values, mask)
        return found


class Ops(BlockOps[T], Protocol[T]):
    """The operations of a whole decoder."""

    def embedding(self, ids: T, weight: str, *, out: str) -> T:
        """Rows `ids` [1, AR] of `weight` [vocab, hidden] -> [1, AR, hidden]."""
