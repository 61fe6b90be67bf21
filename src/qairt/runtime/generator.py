"""The interface that text generation needs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qairt.errors import GenerationError, ModelError

Logits = NDArray[np.float32]


class Generator(Protocol):
    """A decoder with a KV cache: takes tokens, returns the logits of the next."""

    context_length: int
    """Maximum number of tokens, prompt and answer together."""

    load_s: float
    """Seconds spent opening graphs so far."""

    @property
    def room(self) -> int:
        """How many more tokens it can take."""

    def prefill(self, ids: Sequence[int]) -> Logits:
        """Append tokens -> logits [vocab] of the token after the last.

        Raises:
            GenerationError: `ids` is empty or longer than `room`.
            ModelError: one is outside the vocabulary.
        """

    def decode(self, token: int) -> Logits:
        """Append one token -> logits [vocab] of the next.

        Raises:
            GenerationError: there is no `room`.
        """

    def reset(self) -> None:
        """Forget all tokens."""

    def close(self) -> None:
        """Free memory and end processes."""


def require_known(ids: Sequence[int], vocabulary: int) -> None:
    """
    Raises:
        ModelError: a token is outside the vocabulary.
    """
    unknown = next((token for token in ids if not 0 <= token < vocabulary), None)
    if unknown is not None:
        raise ModelError(
            f"token {unknown} is not in the model's vocabulary of {vocabulary:,}",
            where="prompt",
            remedy="the tokenizer and the model do not belong together",
        )


def require_room(count: int, room: int, context_length: int) -> None:
    """
    Raises:
        GenerationError: `count` is 0 or larger than `room`.
    """
    if count == 0:
        raise GenerationError("the prompt has no tokens", where="prompt", remedy="give a prompt")
    if count > room:
        held = context_length - room
        fits = "token does not fit" if count == 1 else "tokens do not fit"
        taken = f", {held} of them taken" if held else ""
        raise GenerationError(
            f"{count} {fits}: the context holds {context_length}{taken}",
            where="prompt",
            remedy="shorten the prompt, or set a larger context length in stages.prepare_exports and run again",
        )
