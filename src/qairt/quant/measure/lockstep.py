"""A decoder block over many pieces of text at once, linear by linear.

`LockstepOps` runs the lines of `qairt.model.decoder` on lists, one value a piece. Nothing is computed before a linear's
inputs are asked for: then all pieces are computed up to there, side by side, and what they needed on the way is let go
of. So a technique can look at all inputs of a linear, choose its weights, and the pieces go on with the chosen ones:
every operation runs once, and in memory are a few tensors a piece, never the scores of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor

from qairt.model.reference import Tap, TorchOps

KEPT = ".attn.residual"
"""Needed by both the MLP and what leaves the block."""


@dataclass(frozen=True)
class Piece:
    """Tokens start … stop - 1 of a chunk, on the way through one of the streams."""

    stream: int
    chunk: int
    start: int
    stop: int


class Deferred:
    """A value that is computed when it is needed."""

    __slots__ = ("_make", "_name", "_sources", "_tapped", "keep", "value")

    def __init__(
        self, name: str, make: Callable[..., Tensor] | None, sources: tuple[Deferred, ...] = (), *, keep: bool = False
    ) -> None:
        self.value: Tensor | None = None
        self.keep = keep
        self._name = name
        self._make = make
        self._sources = sources
        self._tapped = False

    @classmethod
    def of(cls, value: Tensor) -> Deferred:
        """One that is known."""
        known = cls("", None)
        known.value = value
        return known

    def compute(self, tap: Tap | None, done: dict[int, Tensor]) -> Tensor:
        """The value.

        Args:
            tap: told of it, once.
            done: values computed on the way, by the identity of their `Deferred`.
        """
        if self.value is not None:
            return self.value
        if id(self) in done:
            return done[id(self)]
        assert self._make is not None
        value = self._make(*(source.compute(tap, done) for source in self._sources))
        if tap is not None and not self._tapped and self._name:
            tap(self._name, value)
        self._tapped = True
        done[id(self)] = value
        if self.keep:
            self.hold(value)
        return value

    def hold(self, value: Tensor) -> None:
        """Keep it, and let go of what it was made from."""
        self.value, self._make, self._sources = value, None, ()


Values = list[Deferred]


class LockstepOps:
    """`qairt.model.decoder.Ops` on a value for each piece."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        weight: Callable[[int, str], Tensor],
        look: Callable[[str, Values], None],
        taps: Sequence[Tap | None],
        pool: Executor,
        begins_at: Callable[[int], None],
    ) -> None:
        """
        Args:
            pieces: of a chunk in their order.
            weight: a parameter, by stream and name.
            look: called with the weight's name and the inputs of a linear before it is computed.
            taps: by stream, told of every tensor.
            begins_at: called with the position of a piece on the thread that is about to compute it.
        """
        self.pieces = pieces
        self._weight = weight
        self._look = look
        self._taps = taps
        self._pool = pool
        self._begins_at = begins_at
        self._present: dict[str, Values] = {}
        self._groups: dict[tuple[int, int], list[int]] = {}
        for place, piece in enumerate(pieces):
            self._groups.setdefault((piece.stream, piece.chunk), []).append(place)

    def compute(self, values: Values) -> list[Tensor]:
        """All values, chunks side by side; they are kept from now on."""
        list(self._pool.map(lambda places: self._compute_chunk(values, places), self._groups.values()))
        return [value.value for value in values if value.value is not None]

    @torch.inference_mode()
    def _compute_chunk(self, values: Values, places: list[int]) -> None:
        for place in places:
            if values[place].value is None:
                piece = self.pieces[place]
                self._begins_at(piece.start)
                values[place].hold(values[place].compute(self._taps[piece.stream], {}))

    def past(self, present: str, axis: int, empty: Tensor) -> Values:
        """Keys or values before each piece: those of the pieces before it in its chunk."""
        made: Values = []
        for place, piece in enumerate(self.pieces):
            before = [one for one in self._groups[piece.stream, piece.chunk] if one < place]
            if not before:
                made.append(Deferred.of(empty))
                continue

            def joined(before: list[int] = before) -> Tensor:
                return torch.cat([self._present[present][one].compute(None, {}) for one in before], axis)

            made.append(Deferred("", joined))
        return made

    def release(self) -> None:
        """Let go of keys and values: the block is done."""
        self._present.clear()

    def present(self, name: str) -> Values:
        """Keys or values of each piece's tokens."""
        return self._present[name]

    # Ops

    def embedding(self, ids: Values, weight: str, *, out: str) -> Values:
        raise NotImplementedError("a block begins after the embedding")

    def linear(self, x: Values, weight: str, bias: str | None, *, out: str) -> Values:
        self._look(weight, x)
        product = self._each(
            out if bias is None else out + ".matmul",
            lambda piece: lambda value: value @ self._weight(piece.stream, weight),
            x,
        )
        if bias is None:
            return product
        return self._each(out, lambda piece: lambda value: value + self._weight(piece.stream, bias), product)

    def rms_norm(self, x: Values, weight: str, epsilon: float, *, out: str) -> Values:
        def normed(piece: Piece) -> Callable[..., Tensor]:
            def of(value: Tensor) -> Tensor:
                scale = torch.rsqrt(value.square().mean(-1, keepdim=True) + epsilon)
                return value * scale * self._weight(piece.stream, weight)

            return of

        return self._each(out, normed, x)

    def add(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.add, a, b)

    def sub(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.sub, a, b)

    def mul(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.mul, a, b)

    def matmul(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.matmul, a, b)

    def sigmoid(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.sigmoid, x)

    def softmax(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.softmax, x)

    def slice(self, x: Values, start: int, end: int, *, axis: int, out: str) -> Values:
        return self._all(out, lambda value, *, out: _PLAIN.slice(value, start, end, axis=axis, out=out), x)

    def concat(self, parts: Sequence[Values], *, axis: int, out: str) -> Values:
        return self._all(out, lambda *values, out: _PLAIN.concat(values, axis=axis, out=out), *parts)

    def reshape(self, x: Values, shape: Sequence[int], *, out: str) -> Values:
        return self._all(out, lambda value, *, out: _PLAIN.reshape(value, shape, out=out), x)

    def transpose(self, x: Values, order: Sequence[int], *, out: str) -> Values:
        made = self._all(out, lambda value, *, out: _PLAIN.transpose(value, order, out=out), x)
        if out.startswith("past_"):
            self._present[out] = made
        return made

    def _all(self, out: str, operation: Callable[..., Tensor], *sources: Values) -> Values:
        return self._each(out, lambda piece: lambda *values: operation(*values, out=out), *sources)

    def _each(self, out: str, make: Callable[[Piece], Callable[..., Tensor]], *sources: Values) -> Values:
        keep = out.endswith(KEPT) or out.startswith("past_")
        return [
            Deferred(out, make(piece), values, keep=keep)
            for piece, *values_ in zip(self.pieces, *sources, strict=True)
            for values in [tuple(values_)]
        ]


class _Plain(TorchOps):
    """The arithmetic alone."""

    def __init__(self) -> None:
        self.tap = None


_PLAIN = _Plain()
