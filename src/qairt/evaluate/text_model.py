"""What reads text for a metric, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Ids = NDArray[np.int64]
Done = Callable[[float], None]
"""Told which part of a piece of work is done, 0 … 1."""


class TextModel(Protocol):
    """Gives the logits of whole sequences, a few rows at a time: the logits of a text never fit into memory."""

    side_by_side: bool
    """`logits` may be called for several sequences at once, each on a thread of its own."""
    share_before: float
    """Part of the work that `read` does; `logits` does the rest."""

    def read(self, sequences: Sequence[Ids], done: Done) -> None:
        """Take these sequences, each from an empty context; those before are forgotten."""

    def logits(self, place: int) -> Iterator[tuple[int, Tensor]]:
        """For sequence `place`: where rows begin and the rows [some, vocab], in order to its end."""

    def close(self) -> None:
        """Give memory back."""


class ReferenceModel(TextModel, Protocol):
    """The float model, which is asked for the rows that another model just gave."""

    def rows(self, place: int, start: int, stop: int) -> Tensor:
        """Logits [stop - start, vocab] of positions `start` … `stop - 1` of sequence `place`."""
