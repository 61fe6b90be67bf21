"""What Genie costs on this machine, said before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.amounts import about, count
from qairt.model.parts import Part

TOKEN_S = 0.08
"""Seconds for a token and a million weights, all that are multiplied with. Measured on SmolLM2-135M, a 2-core x86
machine."""


def seconds_a_token(parts: Sequence[Part]) -> float:
    """About how long the emulated NPU takes for one token, read or generated.

    Args:
        parts: all of the model's; an embedding alone costs nothing.
    """
    weights = sum(part.weight_bytes for part in parts if part.last_layer > part.first_layer) / 4e6
    return max(TOKEN_S * weights, 0.01)


def genie_cost(seconds: float, prompt_tokens: int, new_tokens: int) -> str:
    """A sentence: what an answer takes at so many seconds a token, Genie reading the prompt token by token."""
    # the last token that is generated is not read
    longest = seconds * (prompt_tokens + new_tokens - 1)
    return (
        f"genie: the NPU is emulated, about {about(seconds)} a token: {about(seconds * prompt_tokens)} to read"
        f" {count(prompt_tokens, 'prompt token')} one by one, {about(longest)} with {count(new_tokens, 'new token')}"
    )
