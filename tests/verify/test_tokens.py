"""Two runtimes' greedy tokens, and the margin at the first difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from qairt.errors import ToolchainError
from qairt.model.parts import Part
from qairt.runtime.genie_cost import genie_cost, seconds_per_token
from qairt.verify.result import Verification
from qairt.verify.tokens import compare_tokens


class Counting:
    """A `Generator` that likes the number after the last token best, and the one after that nearly as well."""

    context_length = 32
    load_s = 0.0
    room = 32

    def __init__(self) -> None:
        self.read: list[int] = []

    def prefill(self, ids: Sequence[int]) -> np.ndarray:
        self.read += ids
        logits = np.zeros(50, np.float32)
        logits[ids[-1] + 1], logits[ids[-1] + 2] = 3.0, 2.75
        return logits

    def decode(self, token: int) -> np.ndarray:
        return self.prefill([token])

    def reset(self) -> None:
        self.read = []

    def close(self) -> None:
        pass


class Reciting:
    def __init__(self, *tokens: int) -> None:
        self.tokens = tokens

    def query_tokens(self, tokens: Sequence[int], *, max_tokens: int) -> Iterator[int]:
        return iter(self.tokens[:max_tokens])


def test_equal_tokens():
    cpu = Counting()
    found = compare_tokens("genie", Reciting(4, 5, 6), cpu, [2, 3], 3)
    assert (found.cpu, found.found, found.margin, found.first_difference) == ((4, 5, 6), (4, 5, 6), None, None)
    assert cpu.read == [2, 3, 4, 5], "the last one is not read"


@pytest.mark.parametrize(("second", "margin", "passes"), [(6, 0.25, True), (9, 3.0, False)])
def test_the_margin_is_that_of_the_first_difference(second: int, margin: float, passes: bool):
    found = compare_tokens("genie", Reciting(4, second, 40), Counting(), [2, 3], 3)
    assert (found.first_difference, found.margin) == (1, margin)
    whole = Verification(rungs=(), skipped=(), min_sqnr_db={}, tokens=(found,))
    assert whole.passes is passes
    assert whole.first_differing() == (None if passes else found)


def test_a_runtime_that_stops_early():
    with pytest.raises(ToolchainError, match="rung genie: it generated 2 of 3 requested tokens"):
        compare_tokens("genie", Reciting(4, 5), Counting(), [2, 3], 3)


def test_the_cost_counts_every_token_that_is_read():
    parts = [
        Part(index=1, of=2, first_layer=0, last_layer=0, has_embedding=True, has_head=False, weight_bytes=10**9),
        Part(index=2, of=2, first_layer=0, last_layer=9, has_embedding=False, has_head=True, weight_bytes=4 * 10**8),
    ]
    assert seconds_per_token(parts) == pytest.approx(8.0)
    assert genie_cost(8.0, 30, 11) == (
        "genie: the NPU is emulated at about 8.0 s per token: 4 min 00 s to read 30 prompt tokens one by one,"
        " 5 min 20 s with 11 new tokens"
    )
