from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model.reference import Reference
from qairt.quant.measure import calibration as module
from qairt.quant.measure.calibration import Calibration
from qairt.quant.measure.chunks import chunks_of
from qairt.quant.measure.deferred import FLOAT
from qairt.quant.threads import one_thread_each


def test_chunks_are_spread_over_the_text() -> None:
    chunks = chunks_of(range(105), count=3, length=10, where="text")
    assert [chunk[0] for chunk in chunks] == [0, 30, 60]
    assert all(len(chunk) == 10 for chunk in chunks)


def test_a_text_that_is_too_short() -> None:
    with pytest.raises(QuantizationError) as error:
        chunks_of(range(1050), count=4, length=512, where="my.txt")
    assert str(error.value) == (
        "my.txt: the calibration text has 1,050 tokens, fewer than 4 chunks of 512 (2,048)\n"
        "  use a longer text, or set calibration_chunks to 2"
    )


def test_a_text_shorter_than_one_chunk() -> None:
    with pytest.raises(QuantizationError) as error:
        chunks_of([], count=1, length=512, where="my.txt")
    assert str(error.value) == (
        "my.txt: the calibration text has 0 tokens, fewer than 1 chunk of 512 (512)\n"
        "  use a longer text or a smaller calibration_length"
    )


def test_no_chunks(tmp_path: Path) -> None:
    with one_thread_each(1) as pool, pytest.raises(QuantizationError, match=r"^there are no tokens to calibrate on\n"):
        Calibration(tiny_parameters(tmp_path), [], lambda name, value: None, pool)


@pytest.mark.parametrize("token", [-1, 128])
def test_a_token_outside_the_vocabulary(tmp_path: Path, token: int) -> None:
    chunks = [np.array([5, 6]), np.array([5, token, 6])]
    with one_thread_each(1) as pool, pytest.raises(QuantizationError) as error:
        Calibration(tiny_parameters(tmp_path), chunks, lambda name, value: None, pool)
    assert str(error.value) == (
        f"calibration chunk 1: token {token} is not in the vocabulary of 128\n"
        "  use the tokenizer that was published with the model"
    )


def test_segments_on_a_cache_are_the_whole_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 tokens in segments of 10 give what the reference gives for all at once."""
    monkeypatch.setattr(module, "SEGMENT_TOKENS", 10)
    parameters = tiny_parameters(tmp_path)
    monkeypatch.setattr("qairt.model.parameters._BAND", 50 * parameters.config.hidden_size)
    pasts: list[int] = []

    def tap(name: str, value: Tensor) -> None:
        if name == "layers.0.attn.keys":
            pasts.append(value.shape[3])

    seen: list[tuple[int, tuple[int, ...]]] = []
    with one_thread_each(1) as pool:
        calibration = Calibration(parameters, TOKENS, tap, pool)
        calibration.embed(lambda start, rows: seen.append((start, tuple(rows.shape))))
        for layer in range(2):
            calibration.block(layer)
        logits = calibration.head(lambda start, columns: seen.append((start, tuple(columns.shape))), {0: slice(3, 24)})
    assert pasts == [10, 20, 24] * 3
    hidden = parameters.config.hidden_size
    parts = ((0, 50), (50, 50), (100, 28))
    assert seen[:3] == [(start, (count, hidden)) for start, count in parts]
    assert seen[3:] == [(start, (hidden, count)) for start, count in parts]
    expected = Reference(parameters).logits(TOKENS[0])[3:]
    torch.testing.assert_close(logits[FLOAT, 0][0], expected, rtol=1e-4, atol=1e-4)
    key, value = calibration.latest[FLOAT, 0]
    assert key.shape == (2, 1, 16, 24)
    assert value.shape == (2, 1, 24, 16)


def test_torch_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    with one_thread_each(2) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("most", "step"), [(4096, 1), (36, 2), (20, 4)])
def test_logits_of_enough_tokens_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, step: int
) -> None:
    """Three chunks of 24 tokens."""
    monkeypatch.setattr(module, "LOGIT_TOKENS", most)
    parameters, found = tiny_parameters(tmp_path), list[Tensor]()

    def tap(name: str, value: Tensor) -> None:
        if name == "logits":
            found.append(value.clone())

    with one_thread_each(1) as pool:
        calibration = Calibration(parameters, TOKENS, tap, pool)
        calibration.embed(lambda start, rows: None)
        for layer in range(2):
            calibration.block(layer)
        calibration.head(lambda start, columns: None, {})
    assert len(found) == len(TOKENS) == 3
    for logits, chunk in zip(found, TOKENS, strict=True):
        expected = Reference(parameters).logits(chunk)[::step]
        torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-4)
