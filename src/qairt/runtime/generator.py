"""What text generation needs of a model, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qairt.errors import GenerationError, ModelError

Logits = NDArray[np.float32]


class Generator(Protocol):
    """A decoder with a KV cache: takes tokens, gives the logits of the next."""

    context_length: int
    """Tokens it can hold, prompt and answer together."""

    load_s: float
    """Seconds spent on opening graphs so far."""

    @property
    def room(self) -> int:
        """Tokens it can still take."""

    def prefill(self, ids: Sequence[int]) -> Logits:
        """Take these tokens after those already held -> logits [vocab] of what follows the last.

        Raises:
            GenerationError: there are none, or more than `room`.
            ModelError: one is outside the vocabulary.
        """

    def decode(self, token: int) -> Logits:
        """Take one more token -> logits [vocab] of the next.

        Raises:
            GenerationError: there is no `room`.
        """

    def reset(self) -> None:
        """Forget all tokens."""

    def close(self) -> None:
        """Give memory and processes back."""


def require_known(ids: Sequence[int], vocabulary: int) -> None:
    """
    Raises:
        ModelError: a token is outside the vocabulary.
    """
    strange = next((token for token in ids if not 0 <= token < vocabulary), None)
    if strange is not None:
        raise ModelError(
            f"token {strange} is not in the model's vocabulary of {vocabulary:,}",
            where="prompt",
            remedy="the tokenizer and the model do not belong together",
        )


def require_room(count: int, room: int, context_length: int) -> None:
    """
    Raises:
        GenerationError: `count` tokens are none, or more than there is room for.
    """
    if count == 0:
        raise GenerationError("there are no tokens to start from", where="prompt", remedy="give a prompt")
    if count > room:
        held = context_length - room
        fits = "token does not fit" if count == 1 else "tokens do not fit"
        taken = f", {held} are taken" if held else ""
        raise GenerationError(
            f"{count} {fits}: the context holds {context_length}{taken}",
            where="prompt",
            remedy="shorten the prompt, or set a larger context length in stages.prepare_exports and run again",
        )
