"""Reading in segments and in few queries at a time, against whole sequences at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import parameters_of
from torch import Tensor

from qairt.evaluate import blockwise
from qairt.evaluate.blockwise import BlockwiseModel
from qairt.model.inputs import masks
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encodings
from qairt.quant.quantize_model import quantize_model
from qairt.quant.simulate import Simulated
from qairt.quant.threads import one_thread_each
from qairt.runtime.metrics import sqnr_db

FAMILIES = ["llama", "gemma2", "gemma3_text", "gpt_oss", "mixtral", "lfm2"]
IDS = np.random.default_rng(0).integers(0, 96, 50)


@pytest.fixture(autouse=True)
def pieces_that_divide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("SEGMENT", 21), ("QUERIES", 8), ("HEAD_ROWS", 9)):
        monkeypatch.setattr(blockwise, name, count)


def read(parameters: Parameters, encodings: Encodings) -> np.ndarray:
    with one_thread_each(1) as pool:
        model = BlockwiseModel(parameters, encodings, pool)
        model.read([IDS], lambda fraction: None)
        return torch.cat([logits for _, logits in model.logits(0)]).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_float_logits_are_those_of_the_whole_sequence(tmp_path: Path, family: str) -> None:
    parameters = parameters_of(tmp_path, family)
    np.testing.assert_allclose(read(parameters, Encodings()), Reference(parameters).logits(IDS).numpy(), atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_simulated_logits_are_those_of_the_whole_sequence(tmp_path: Path, family: str) -> None:
    parameters = parameters_of(tmp_path, family)
    encodings = quantize_model(parameters, [IDS], TechniqueConfig(technique="minmax")).encodings
    assert sqnr_db(Simulated(parameters, encodings).logits(IDS).numpy(), read(parameters, encodings)) > 60


def test_keys_that_do_not_exist_yet_are_left_out(tmp_path: Path) -> None:
    """Keys that a sliding window hides are there, as in a graph: where a mask leaks, it shows."""
    parameters = parameters_of(tmp_path, "gemma2")
    with one_thread_each(1) as pool:
        model = BlockwiseModel(parameters, Encodings(), pool)
    (name,) = (name for name, window in masks(parameters.config).items() if window is not None)
    mask = model._segment(20, 40, 48)[name]
    seen: list[tuple[int, ...]] = []

    def attention(ops: object, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        seen.append((q.shape[2], keys.shape[3], values.shape[2], *mask.shape[2:]))
        return q

    keys = torch.zeros(1, 1, 4, mask.shape[3])
    q = torch.arange(80.0).reshape(1, 1, 20, 4)
    assert torch.equal(model._ops.attend(attention, q, keys, keys.mT, mask), q)
    assert seen == [(8, 28, 28, 8, 28), (8, 36, 36, 8, 36), (4, 40, 40, 4, 40)]
