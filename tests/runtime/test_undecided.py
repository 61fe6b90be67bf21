"""Tokens that either expert may get are found in the graph, and left out of comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from zoo import FORMS

from qairt.runtime.emulation import stored_inputs
from qairt.runtime.undecided import TIE_STEPS, near_ties, undecided_tokens, without_tokens


def test_a_tie_is_between_the_last_that_is_chosen_and_the_next() -> None:
    logits = np.array([[[500, 100, 500 - TIE_STEPS, 0], [500, 100, 499 - TIE_STEPS, 0], [7, 7, 7, 7]]], np.uint16)
    assert near_ties(logits, 1).tolist() == [True, False, True]
    assert near_ties(logits, 2).tolist() == [False, False, True]
    assert near_ties(logits, 4).tolist() == [False] * 3, "there is no other"


def test_those_of_a_graph_are_those_of_its_routers(tmp_path: Path) -> None:
    form = FORMS["experts as one wide MLP"].make(128)
    form.weight_bits = 16
    logits = form.inputs["hidden_0"][0] @ form.weights["weight_0"]
    ranked = np.sort(logits, -1)[:, ::-1]
    steps = (ranked[:, 3] - ranked[:, 4]) / ((logits.max() - logits.min()) / 65535)
    part = form.part(tmp_path, 128)
    found = undecided_tokens(part, stored_inputs(part.signature.inputs, form.inputs), threads=1)
    assert found is not None
    assert found.any()
    assert (found == (steps <= TIE_STEPS)).all()
    assert (np.abs(steps - TIE_STEPS) > 4).all(), "none is so near that rounding decides"


def test_a_graph_without_routers_has_none(tmp_path: Path) -> None:
    form = FORMS["SiLU"].make(4)
    part = form.part(tmp_path, 4)
    assert undecided_tokens(part, stored_inputs(part.signature.inputs, form.inputs), threads=1) is None


def test_outputs_are_compared_without_them() -> None:
    left_out = np.array([False, True, False])
    hidden, keys, values = np.zeros((1, 3, 8)), np.zeros((2, 1, 4, 3)), np.zeros((2, 1, 3, 4))
    assert without_tokens(hidden, "hidden_2", left_out).shape == (1, 2, 8)
    assert without_tokens(keys, "past_key_0_out", left_out).shape == (2, 1, 4, 2)
    assert without_tokens(values, "past_value_0_out", left_out).shape == (2, 1, 2, 4)
    assert without_tokens(hidden, "hidden_2", None) is hidden
    assert without_tokens(hidden, "pooled_output", left_out) is hidden
