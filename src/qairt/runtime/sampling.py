"""Choosing the next token from logits. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qairt.errors import GenerationError

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. The default is greedy: always the most likely token."""

    temperature: float = 0.0
    """Divides the logits; 0 is greedy and ignores the other settings."""
    top_k: int = 0
    """Sample from the k most likely tokens; 0 for all."""
    top_p: float = 1.0
    """Sample from the most likely tokens that together reach this probability; 1 for all."""
    seed: int = 0
    """The same seed gives the same tokens for the same logits."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0 or self.temperature == float("inf"):
            raise _out_of_range("temperature", self.temperature, "0 (greedy) or more, usually below 2")
        if self.top_k < 0:
            raise _out_of_range("top_k", self.top_k, "0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise _out_of_range("top_p", self.top_p, "above 0 and at most 1")
        if self.seed < 0:
            raise _out_of_range("seed", self.seed, "0 or more")


class TokenSampler:
    """Samples one token after another; holds the random state."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))

    def pick(self, logits: Logits) -> int:
        """The next token's id.

        Args:
            logits: [vocab].

        Raises:
            GenerationError: the logits contain NaN.
        """
        if np.isnan(logits).any():
            raise GenerationError(
                "the logits contain NaN",
                where="logits",
                remedy="check the model's weights and encodings (qairt verify)",
            )
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        candidates, probabilities = distribution(logits, self.sampling)
        return int(self._random.choice(candidates, p=probabilities))


def distribution(logits: Logits, sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The tokens that can be sampled at a temperature above 0, most likely first, and their probabilities (sum 1).

    Applies temperature, then top_k, then top_p, like `transformers`. Of equally likely tokens the lower id is first.

    Args:
        logits: [vocab].
    """
    count = min(sampling.top_k, len(logits)) or len(logits)
    # all tokens equal to the k-th largest are sorted, so that which of them remain is deterministic
    threshold = np.partition(logits, -count)[-count]
    candidates = np.flatnonzero(logits >= threshold)
    order = np.argsort(-logits[candidates], kind="stable")[:count]
    candidates = candidates[order]
    below = logits[candidates].astype(np.float64) - float(logits[candidates[0]])
    with np.errstate(over="ignore"):  # of a tiny temperature: all but the most likely are -inf
        probabilities = np.exp(below / sampling.temperature)
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        before = np.cumsum(probabilities) - probabilities
        kept = int((before < sampling.top_p).sum())
        candidates, probabilities = candidates[:kept], probabilities[:kept]
        probabilities /= probabilities.sum()
    return candidates, probabilities


def _out_of_range(name: str, value: float, allowed: str) -> GenerationError:
    return GenerationError(f"{value} is out of range", where=name, remedy=f"allowed: {allowed}")
