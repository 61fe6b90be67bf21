"""What a model says of some tokens of a text, as metrics are given it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from torch import Tensor


class TokenScores:
    """Some consecutive tokens of a chunk, and what was thought of each before it came."""

    def __init__(self, logits: Tensor, targets: Tensor, reference_logits: Callable[[], Tensor]) -> None:
        """
        Args:
            logits: [tokens, vocab], each row from all that stands before its token.
            targets: [tokens], the ids that came.
            reference_logits: gives the float model's logits of the same tokens.
        """
        self.logits = logits
        self.targets = targets
        self._reference_logits = reference_logits

    @cached_property
    def log_probabilities(self) -> Tensor:
        """[tokens, vocab]."""
        return self.logits.log_softmax(-1)

    @cached_property
    def reference_log_probabilities(self) -> Tensor:
        """[tokens, vocab], of the float model."""
        return self._reference_logits().to(self.logits.device).log_softmax(-1)
