"""SQNR with and without the first token, agreement of logits, padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qairt.runtime.metrics import MAX_DB, decibel, sqnr_db
from qairt.verify.measure import Deviation, kl_and_agreement, rows

RANDOM = np.random.default_rng(0)


def test_decibel_of_equal_missing_and_ordinary_values():
    assert decibel(100.0, 1.0) == pytest.approx(20.0)
    assert decibel(1.0, 0.0) == decibel(0.0, 0.0) == MAX_DB
    assert decibel(0.0, 1.0) == -MAX_DB


def test_sqnr_is_that_of_the_energies():
    reference, error = RANDOM.normal(size=(2, 3, 50)).astype(np.float32)
    expected = 10 * np.log10(np.square(reference).sum() / np.square(error / 8).sum())
    assert sqnr_db(reference, reference + error / 8) == pytest.approx(expected, rel=1e-4)
    assert sqnr_db(reference, reference) == MAX_DB


@pytest.mark.parametrize(("name", "axis"), [("hidden_3", 1), ("past_key_0_out", 3), ("past_value_0_out", 2)])
def test_rows_are_the_last_tokens_of_each_kind_of_output(name, axis):
    values = RANDOM.normal(size=(2, 5, 5, 5)).astype(np.float32)
    found = rows(name, values, 2)
    assert found.shape == (2, 50)
    assert np.array_equal(found[1], values.take(4, axis).reshape(-1))


def test_the_first_token_does_not_hide_the_others():
    """A hidden state of 20,000 at position 0 with the same absolute error everywhere."""
    reference = np.ones((4, 8), np.float32)
    reference[0] = 20_000
    deviation = Deviation("hidden_1")
    deviation.add(reference, reference + np.float32(0.1), 0)
    found = deviation.result(2, 8, "chained")
    assert found.sqnr_db == pytest.approx(20.0, abs=0.1)
    assert found.first_token_db == pytest.approx(106, abs=1)
    assert (found.part, found.ar, found.way, found.tokens, found.top1) == (2, 8, "chained", 4, None)


def test_a_constant_offset_of_a_tokens_logits_is_no_error():
    reference = RANDOM.normal(size=(3, 50)).astype(np.float32)
    deviation = Deviation("logits")
    deviation.add(reference, reference + np.float32([[5], [-3], [7]]), 0)
    found = deviation.result(1, 1, "isolated")
    assert found.sqnr_db > 100
    assert found.top1 == 1.0
    assert found.kl == pytest.approx(0.0, abs=1e-9)


def test_calls_add_up():
    reference = RANDOM.normal(size=(6, 4)).astype(np.float32)
    measured = reference + RANDOM.normal(scale=0.01, size=(6, 4)).astype(np.float32)
    whole, piecewise = Deviation("hidden_0"), Deviation("hidden_0")
    whole.add(reference, measured, 3)
    for start in (0, 3):
        piecewise.add(reference[start : start + 3], measured[start : start + 3], 3 + start)
    assert piecewise.result(1, 1, "isolated").sqnr_db == pytest.approx(whole.result(1, 1, "isolated").sqnr_db)
    assert whole.result(1, 1, "isolated").first_token_db is None
    assert whole.result(1, 1, "isolated").max_error == pytest.approx(float(np.abs(reference - measured).max()))


def test_kl_and_agreement_are_torchs():
    p, q = (RANDOM.normal(scale=3, size=(5, 40)).astype(np.float32) for _ in range(2))
    kl, same = kl_and_agreement(p, q)
    expected = torch.nn.functional.kl_div(
        torch.tensor(q).log_softmax(-1), torch.tensor(p).log_softmax(-1), log_target=True, reduction="sum"
    )
    assert kl == pytest.approx(float(expected), rel=1e-5)
    assert same == int((p.argmax(1) == q.argmax(1)).sum())
    assert kl_and_agreement(p, p) == (0.0, 5)
