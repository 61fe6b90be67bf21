"""What a model predicts for some tokens of a text, as metrics get it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

_ROWS = 8
"""Tokens whose probabilities are computed at once where they are not kept: they stay in the processor's cache."""


class TokenScores:
    """The predictions for some consecutive tokens of a chunk."""

    def __init__(self, logits: Tensor, targets: Tensor, reference_logits: Callable[[], Tensor]) -> None:
        """
        Args:
            logits: [tokens, vocab], each row computed from all tokens before its own.
            targets: [tokens], the ids of the tokens.
            reference_logits: returns the float model's logits for the same tokens.
        """
        self.logits = logits
        self.targets = targets
        self._reference_logits = reference_logits

    def log_likelihoods(self) -> Tensor:
        """[tokens], of the tokens themselves."""
        rows = zip(torch.split(self.logits, _ROWS), torch.split(self.targets, _ROWS), strict=True)
        return torch.cat([logits.log_softmax(-1).gather(1, targets[:, None])[:, 0] for logits, targets in rows])

    @cached_property
    def log_probabilities(self) -> Tensor:
        """[tokens, vocab]."""
        return self.logits.log_softmax(-1)

    @cached_property
    def reference_log_probabilities(self) -> Tensor:
        """[tokens, vocab], of the float model."""
        return self._reference_logits().to(self.logits.device).log_softmax(-1)
