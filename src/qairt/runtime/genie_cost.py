"""The expected time of Genie on this machine, reported before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.amounts import about, count
from qairt.model.parts import Part, computing_weights

TOKEN_S = 0.08
"""Seconds per token and million weights of the linear layers. Measured with SmolLM2-135M on a 2-core x86 machine."""


def seconds_per_token(parts: Sequence[Part]) -> float:
    """The expected time of the emulated NPU for one token, read or generated.

    Args:
        parts: all parts of the model; one that is only the embedding costs nothing.
    """
    return max(TOKEN_S * computing_weights(parts) / 1e6, 0.01)


def genie_cost(seconds: float, prompt_tokens: int, new_tokens: int) -> str:
    """A line of text: the time of an answer. Genie reads the prompt token by token."""
    # the last generated token is not read
    longest = seconds * (prompt_tokens + new_tokens - 1)
    return (
        f"genie: the NPU is emulated at about {about(seconds)} per token: {about(seconds * prompt_tokens)} to"
        f" read {count(prompt_tokens, 'prompt token')} one by one, {about(longest)} with"
        f" {count(new_tokens, 'new token')}"
    )
