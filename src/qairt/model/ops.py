"""The operations that a decoder is written in.

torch computes them (`qairt.model.reference`), ONNX describes them (`qairt.graph.build`), and `qairt.quant.structure`
derives from them which tensors there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


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

    def add(self, a: T, b: T, *, out: str) -> T: ...

    def sub(self, a: T, b: T, *, out: str) -> T: ...

    def mul(self, a: T, b: T, *, out: str) -> T: ...

    def sigmoid(self, x: T, *, out: str) -> T: ...

    def tanh(self, x: T, *, out: str) -> T: ...

    def relu(self, x: T, *, out: str) -> T: ...

    def gelu(self, x: T, *, by_tanh: bool, out: str) -> T:
        """x times the normal distribution function at x, or its approximation by tanh."""

    def softmax(self, x: T, *, out: str) -> T:
        """Over the last axis."""

    def matmul(self, a: T, b: T, *, out: str) -> T: ...

    def slice(self, x: T, start: int, end: int, *, axis: int, out: str) -> T: ...

    def concat(self, parts: Sequence[T], *, axis: int, out: str) -> T: ...

    def reshape(self, x: T, shape: Sequence[int], *, out: str) -> T:
        """`shape` holds at most one -1 and never the literal AR or CL."""

    def transpose(self, x: T, order: Sequence[int], *, out: str) -> T: ...

    def branch(self, module: str) -> tuple[T, T] | None:
        """A [in, R] and B [R, out] of the LoRA branch beside the linear `module`; None if it has none."""


class Ops(BlockOps[T], Protocol[T]):
    """The operations of a whole decoder."""

    def embedding(self, ids: T, weight: str, *, out: str) -> T:
        """Rows `ids` [1, AR] of `weight` [vocab, hidden] -> [1, AR, hidden]."""
