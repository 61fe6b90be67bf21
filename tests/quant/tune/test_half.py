"""Linears in bfloat16: which are, what they compute, and that tuning with them ends where it does in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters

from qairt.model.parameters import Parameters
from qairt.model.torch_ops import product
from qairt.quant.bfloat16 import has_bfloat16
from qairt.quant.config import TechniqueConfig
from qairt.quant.execution import Execution
from qairt.quant.precisions import linear_shapes
from qairt.quant.quantize_model import quantize_model
from qairt.quant.tune import half as halves
from qairt.quant.tune.distillation import distill
from qairt.quant.tune.half import HalfOps

UP = "model.layers.0.mlp.up_proj.weight"


def test_linears_are_held_in_half_the_memory(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    ops = HalfOps(parameters, "cpu", linear_shapes(parameters.config))
    ops.hold(parameters.layer_names(0))
    kinds = {name: ops.weight(name).dtype for name in parameters.layer_names(0)}
    halves = {name for name, kind in kinds.items() if kind == torch.bfloat16}
    assert halves == {name for name in linear_shapes(parameters.config) if name.startswith("model.layers.0.")}
    assert {kinds[name] for name in kinds.keys() - halves} == {torch.float32}
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0))
    exact, found = x @ torch.from_numpy(np.array(parameters.read(UP))), ops.product(x, UP)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert float((found - exact).square().mean() / exact.square().mean()) < 1e-4


def test_a_product_of_floats_is_exact() -> None:
    x, weight = torch.randn(3, 8), torch.randn(8, 4)
    assert torch.equal(product(x, weight), x @ weight)


def test_a_processor_without_it_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not has_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert has_bfloat16("cpu")


def test_tuning_ends_where_it_does_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TechniqueConfig(technique="lpbq", block_size=32, distillation_steps=12, distillation_rate=0.005)
    parameters = tiny_parameters(tmp_path)
    params = quantize_model(parameters, TOKENS, config).encodings.params
    values = {name: params[name].nearest(parameters.read(name)) for name in linear_shapes(parameters.config)}
    quantized = Parameters(parameters.source, parameters.config, values)
    text = [np.random.default_rng(seed).integers(3, 128, 32) for seed in range(30, 42)]
    found = {}
    for half in (False, True):
        monkeypatch.setattr(halves, "has_bfloat16", lambda device, half=half: half)
        execution = Execution(threads=1)
        found[half] = distill(parameters, quantized, params, text, config, execution=execution)
    plain, half = found[False], found[True]
    assert half.before == plain.before  # losses are computed in float32
    assert half.after == pytest.approx(plain.after, rel=0.02)
    assert plain.after < 0.99 * plain.before
    assert any(not np.array_equal(plain.factors[name], half.factors[name]) for name in plain.factors)
