"""Values that are computed when they are needed, one for each segment of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from qairt.model.torch_ops import Tap

FLOAT, QUANTIZED = 0, 1
"""The streams: text on its way through the float weights, and through the quantized ones."""


@dataclass(frozen=True)
class Segment:
    """Tokens start … stop - 1 of a chunk in one of the streams."""

    stream: int
    chunk: int
    start: int
    stop: int


class Deferred:
    """A value that is computed when it is first needed."""

    __slots__ = ("_compute", "_keep", "_name", "_sources", "_tapped", "value")

    def __init__(
        self,
        name: str,
        compute: Callable[..., Tensor] | None,
        sources: tuple[Deferred, ...] = (),
        *,
        keep: bool = False,
    ) -> None:
        self.value: Tensor | None = None
        self._keep = keep
        self._name = name
        self._compute = compute
        self._sources = sources
        self._tapped = False

    @classmethod
    def known(cls, value: Tensor) -> Deferred:
        """One that is already computed."""
        known = cls("", None)
        known.value = value
        return known

    def compute(self, tap: Tap | None, done: dict[int, Tensor]) -> Tensor:
        """The value.

        Args:
            tap: called with it, once.
            done: values computed on the way, by the identity of their `Deferred`.
        """
        if self.value is not None:
            return self.value
        if id(self) in done:
            return done[id(self)]
        assert self._compute is not None
        value = self._compute(*(source.compute(tap, done) for source in self._sources))
        if tap is not None and not self._tapped and self._name:
            tap(self._name, value)
        self._tapped = True
        done[id(self)] = value
        if self._keep:
            self.hold(value)
        return value

    def hold(self, value: Tensor) -> None:
        """Keep the value and release its sources."""
        self.value, self._compute, self._sources = value, None, ()


Values = list[Deferred]
"""One per segment."""
