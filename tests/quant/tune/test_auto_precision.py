"""Mixed 4- and 8-bit weights on a tiny model, quantized and measured for real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_embedders import EMBEDDERS, save_embedder
from tiny_models import TINY
from tiny_parameters import TOKENS, tiny_parameters

from qairt.errors import QuantizationError
from qairt.model.describe import describe_model
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.reference import Reference
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encodings
from qairt.quant.execution import Execution
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.quant.simulate import Simulated
from qairt.quant.tune.auto_precision import quantize_mixed

OTHERS = [np.random.default_rng(seed).integers(3, 128, 24) for seed in range(20, 24)]


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Parameters:
    return tiny_parameters(tmp_path_factory.mktemp("model"))


class Work:
    """Quantizes and measures, and keeps what it was asked for."""

    def __init__(self, parameters: Parameters, folder: Path) -> None:
        self.parameters = parameters
        self.folder = folder
        self.rounds: list[dict[str, int]] = []
        self.increases: list[float] = []
        self.said: list[tuple[float, str]] = []

    def run(self, auto: dict[str, float], **settings: object) -> QuantizationResult:
        config = TechniqueConfig.model_validate(
            {"technique": "lpbq", "block_size": 32, "auto_precision": auto} | settings
        )
        return quantize_mixed(
            self.parameters,
            TOKENS,
            config,
            self.quantize,
            self.increase,
            execution=Execution(self.folder, progress=lambda *report: self.said.append(report)),
        )

    def quantize(
        self, parameters: Parameters, tokens: Sequence[np.ndarray], config: TechniqueConfig, **others: Any
    ) -> QuantizationResult:
        assert config.auto_precision is None
        self.rounds.append(dict(config.module_precisions.custom))
        return quantize_model(parameters, tokens, config, **others)

    def increase(self, result: QuantizationResult) -> float:
        """Of text as the float model would write it: a random model's perplexity of random text says nothing."""
        changed = Parameters(self.parameters.source, self.parameters.config, result.overlay)
        models = Reference(self.parameters, True), Simulated(changed, Encodings(params=result.encodings.params), True)
        lost = []
        for chunk in OTHERS:
            plain, quantized = (model.logits(chunk).double().log_softmax(-1) for model in models)
            lost.append(float((plain.exp() * (plain - quantized)).sum(-1).mean()))
        self.increases.append(math.expm1(sum(lost) / len(lost)))
        return self.increases[-1]


def bits(result: QuantizationResult) -> dict[str, int]:
    return {
        name.removesuffix(".weight"): encoding.bitwidth
        for name, encoding in result.encodings.params.items()
        if "_proj" in name
    }


def size(parameters: Parameters, result: QuantizationResult) -> float:
    """Bytes of all weights, without scales."""
    return sum(np.prod(parameters.shape(name)) * one.bitwidth / 8 for name, one in result.encodings.params.items())


def size_of_scales(result: QuantizationResult) -> int:
    return sum(
        4 * len(one.scale) + (one.blocks.int_scale.size if one.blocks is not None else 0)
        for one in result.encodings.params.values()
    )


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_a_budget_is_filled_and_kept(parameters: Parameters, tmp_path: Path, rounding: str) -> None:
    plain = quantize_model(parameters, TOKENS, TechniqueConfig(technique="lpbq", block_size=32))
    budget = size(parameters, plain) / 1e6 * 1.25
    work = Work(parameters, tmp_path)
    result = work.run({"budget_mb": budget}, rounding=rounding)
    assert work.rounds[0] == {}
    assert work.rounds[1:] == [{name: 8 for name, held in bits(result).items() if held == 8}]
    assert 0.8 * budget * 1e6 < size(parameters, result) <= budget * 1e6
    assert work.increases == []
    eight = len(work.rounds[1])
    assert 0 < eight < 14
    assert result.notes[-1].startswith(f"{eight} of 14 linears have 8 bits: 0.")
    fractions = [fraction for fraction, _ in work.said]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_a_size_that_may_grow_takes_one_pass(parameters: Parameters, tmp_path: Path, rounding: str) -> None:
    plain = quantize_model(parameters, TOKENS, TechniqueConfig(technique="lpbq", block_size=32))
    work = Work(parameters, tmp_path)
    result = work.run({"max_size_increase": 0.25}, rounding=rounding)
    assert work.rounds == [{name: 8 for name, held in bits(result).items() if held == 8}]
    before, after = (size(parameters, one) + size_of_scales(one) for one in (plain, result))
    assert 1.1 * before < after <= 1.25 * before
    assert work.increases == []
    assert result.notes[-1].startswith(f"{len(work.rounds[0])} of 14 linears have 8 bits: 0.")
    fractions = [fraction for fraction, _ in work.said]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_linears_that_are_named_keep_their_bits(parameters: Parameters, tmp_path: Path) -> None:
    work = Work(parameters, tmp_path)
    result = work.run({"budget_mb": 10}, module_precisions={"custom": {".*down_proj": 4}})
    assert {name for name, held in bits(result).items() if held == 4} == {
        f"model.layers.{layer}.mlp.down_proj" for layer in (0, 1)
    }


def test_perplexity_is_measured_until_it_is_low_enough(parameters: Parameters, tmp_path: Path) -> None:
    first = Work(parameters, tmp_path / "first")
    assert set(bits(first.run({"max_ppl_increase": 1.0})).values()) == {4}
    (plain,) = first.increases
    assert plain > 0
    work = Work(parameters, tmp_path / "second")
    result = work.run({"max_ppl_increase": plain / 4})
    assert set(bits(result).values()) == {4, 8}
    assert work.increases[-1] <= plain / 4 < work.increases[0]
    assert f"{work.increases[-1]:+.1%}" in result.notes[-1]


def test_what_8_bits_do_not_reach_is_said(parameters: Parameters, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError) as error:
        Work(parameters, tmp_path).run({"max_ppl_increase": 1e-9})
    assert "auto_precision.max_ppl_increase" in str(error.value)
    assert "linears in 8 bits" in str(error.value)


def test_a_budget_that_is_too_small_is_refused(parameters: Parameters, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match=r"auto_precision\.budget_mb: the weights do not fit 0\.001 MB: "):
        Work(parameters, tmp_path).run({"budget_mb": 0.001})


def test_an_embedding_model_has_no_costs_and_keeps_4_bits(tmp_path: Path) -> None:
    save_embedder(tmp_path / "model", **EMBEDDERS["qwen3"])
    config = describe_model(tmp_path / "model").config
    work = Work(open_parameters(tmp_path / "model", config), tmp_path / "work")
    result = work.run({"max_size_increase": 0.5}, rounding="gptq")
    assert set(bits(result).values()) == {4}
    assert result.notes[-1] == "all linears have 4 bits: their costs are not measured in an embedding model"
    settings = {"technique": "lpbq", "block_size": 32, "auto_precision": {"budget_mb": 9}}
    with pytest.raises(QuantizationError) as error:
        TechniqueConfig.model_validate(settings).check(config)
    assert str(error.value) == (
        "auto_precision.budget_mb: it needs predictions of the next token, which an embedding model does not make\n"
        "  set stages.quantization.recipe to balanced.yaml, fast.yaml or minmax.yaml"
    )


def test_a_mixture_of_experts_keeps_4_bits_too(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path / "model", "qwen3_moe", **TINY["qwen3_moe"][1])
    result = Work(parameters, tmp_path / "work").run({"max_size_increase": 0.5}, rounding="gptq")
    assert set(bits(result).values()) == {4}
    assert result.notes[-1] == "all linears have 4 bits: their costs are not measured in a mixture of experts"
