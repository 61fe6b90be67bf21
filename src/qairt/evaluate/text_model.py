"""A text to evaluate on, and what a model that reads it offers, whatever runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Ids = NDArray[np.int64]
TextKey = tuple[str | None, str | None, str, str]
"""Data set, subset, split and column of a text."""
Done = Callable[[float], None]
"""Called with the fraction of the work that is done, 0 … 1."""


@dataclass(frozen=True)
class EvaluationText:
    """A text and its name."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 of its UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class TextModel(Protocol):
    """Gives the logits of whole sequences, a few rows at a time: the logits of a whole text do not fit into memory."""

    is_concurrent: bool
    """`logits` may be called for several sequences at once, each on its own thread."""
    read_fraction: float
    """Fraction of the work that `read` does; `logits` does the rest."""

    def read(self, sequences: Sequence[Ids], done: Done) -> None:
        """Take these sequences, each with an empty context, in place of the earlier ones."""

    def logits(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (start, logits [rows, vocab]) of sequence `index`, in order to its end."""

    def close(self) -> None:
        """Release its memory."""


class ReferenceModel(TextModel, Protocol):
    """The float model, which also gives single rows for comparison with another model's."""

    def rows(self, index: int, start: int, stop: int) -> Tensor:
        """Logits [stop - start, vocab] at positions `start` … `stop - 1` of sequence `index`."""
