"""The last kind of rung: a runtime that returns tokens only, compared with the CPU on the same quantized parts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from qairt.errors import ToolchainError
from qairt.runtime.generator import Generator, Logits
from qairt.verify.result import TokenFidelity

PROMPT, NEW = 8, 4
"""Tokens of text that are read, and tokens that are generated. Emulated, each takes seconds."""


class TokenSource(Protocol):
    """Continues token ids greedily."""

    def query_tokens(self, tokens: Sequence[int], *, max_tokens: int) -> Iterator[int]: ...


def compare_tokens(rung: str, source: TokenSource, cpu: Generator, prompt: Sequence[int], new: int) -> TokenFidelity:
    """Continue `prompt` by `new` tokens in both runtimes.

    Raises:
        ToolchainError: the other runtime stopped early.
    """
    start = time.perf_counter()
    found = tuple(source.query_tokens(prompt, max_tokens=new))
    seconds = time.perf_counter() - start
    if len(found) != new:
        raise ToolchainError(
            f"it generated {len(found)} of {new} requested tokens", where=f"rung {rung}", remedy="try again"
        )
    own, logits = _greedy(cpu, prompt, new)
    differing = next((at for at in range(new) if own[at] != found[at]), None)
    margin = None
    if differing is not None:
        margin = float(logits[differing][own[differing]] - logits[differing][found[differing]])
    return TokenFidelity(
        rung=rung,
        prompt=tuple(prompt),
        cpu=own,
        found=found,
        margin=margin,
        seconds=round(time.perf_counter() - start, 2),
        seconds_a_token=round(seconds / (len(prompt) + new - 1), 3),
    )


def _greedy(cpu: Generator, prompt: Sequence[int], new: int) -> tuple[tuple[int, ...], list[Logits]]:
    cpu.reset()
    logits = [cpu.prefill(prompt)]
    tokens = [int(logits[0].argmax())]
    while len(tokens) < new:
        logits.append(cpu.decode(tokens[-1]))
        tokens.append(int(logits[-1].argmax()))
    return tuple(tokens), logits
