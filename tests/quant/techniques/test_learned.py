"""Rounding that is learned on what leaves a block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings_json import write_encodings
from qairt.quant.execution import Execution
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.quant.techniques.learned import OnGrid, learn_rounding
from qairt.quant.threads import one_thread_each


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Parameters:
    return tiny_parameters(tmp_path_factory.mktemp("model"))


def quantize(parameters: Parameters, rounding: str, **options: int) -> QuantizationResult:
    technique = TechniqueConfig.model_validate(
        {"technique": "lpbq", "block_size": 32, "rounding": rounding, "steps": 30, "seed": options.pop("seed", 0)}
        if rounding == "learned"
        else {"technique": "lpbq", "block_size": 32, "rounding": rounding}
    )
    return quantize_model(parameters, TOKENS, technique, **options)


def changed(result: QuantizationResult) -> dict[str, np.ndarray]:
    assert isinstance(result.overlay, dict)
    return result.overlay


def last_error(result: QuantizationResult) -> float:
    """Of the hidden state that leaves the last block, the first token apart."""
    assert result.exported is not None
    name = "hidden_2"
    error = (result.exported.tensors[name] - result.reference.tensors[name])[:, 1:]
    return float(np.square(error).sum())


def two_layers(chunk: int, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    return torch.tanh(x @ weights["a"]) @ weights["b"]


def grid(weight: Tensor) -> OnGrid:
    scale = (weight.abs().amax(0) / 7).expand(weight.shape)
    return OnGrid(weight / scale, scale)


def test_a_block_gets_better_and_stays_on_its_grid() -> None:
    random = torch.Generator().manual_seed(0)
    weights = {"a": torch.randn(32, 64, generator=random) / 5, "b": torch.randn(64, 16, generator=random)}
    mixing = torch.randn(8, 32, generator=random)
    inputs = [
        (torch.randn(1, 100, 8, generator=random) @ mixing + 0.3 * torch.randn(1, 100, 32, generator=random)) / 3
        for _ in range(8)
    ]
    targets = [two_layers(0, one, weights) for one in inputs]
    start = {name: grid(weight) for name, weight in weights.items()}
    with one_thread_each(2) as pool:
        learned = learn_rounding(two_layers, inputs, targets, start, steps=40, seed=0, pool=pool)

    def error(values: dict[str, Tensor]) -> float:
        found = [two_layers(0, one, values) - target for one, target in zip(inputs, targets, strict=True)]
        return sum(float(one.square().sum()) for one in found)

    assert error(learned) < 0.4 * error({name: one.values() for name, one in start.items()})
    for name, values in learned.items():
        integers = values / start[name].scale
        torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-4)
        assert integers.abs().max() <= 8.001


def test_it_is_no_worse_than_what_error_compensation_left(parameters: Parameters) -> None:
    assert last_error(quantize(parameters, "learned")) <= last_error(quantize(parameters, "gptq"))


def test_the_same_for_a_seed_whatever_the_threads(parameters: Parameters) -> None:
    one, other = (quantize(parameters, "learned", execution=Execution(threads=threads)) for threads in (1, 3))
    assert write_encodings(one.encodings) == write_encodings(other.encodings)
    assert all(np.array_equal(changed(one)[name], changed(other)[name]) for name in changed(one))


def test_the_encodings_give_the_learned_values_back(parameters: Parameters) -> None:
    result = quantize(parameters, "learned")
    for name, values in changed(result).items():
        assert np.array_equal(result.encodings.params[name].nearest(values), values)


def test_what_leaves_the_quantized_stream_is_what_the_changed_weights_give(
    parameters: Parameters, tmp_path: Path
) -> None:
    from qairt.model.parameters import open_parameters
    from qairt.model.reference import Reference

    result = quantize(parameters, "learned")
    assert result.exported is not None
    source = parameters.source.files()[0].parent
    exported = Reference(open_parameters(source, parameters.config, overlay=changed(result)))
    logits = exported.logits(TOKENS[0]).numpy()
    np.testing.assert_allclose(result.exported.tensors["logits"][0], logits, rtol=1e-3, atol=1e-4)
