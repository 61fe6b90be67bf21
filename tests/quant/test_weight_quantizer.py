"""Experts are quantized one by one, and their encodings are those of one wide linear."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters

from qairt.model.parameters import Parameters
from qairt.quant.config import TechniqueConfig
from qairt.quant.quantize_model import quantize_model
from qairt.quant.techniques.minmax import largest_weight_encoding

MINMAX = TechniqueConfig(technique="minmax")
MSE, SEQMSE, GPTQ = (
    TechniqueConfig.model_validate({"technique": "lpbq", "block_size": 32, **settings})
    for settings in ({"scale_search": "mse"}, {"scale_search": "seqmse"}, {"rounding": "gptq"})
)
EXPERTS = "model.layers.0.mlp.experts."
MANY = {"num_local_experts": 8, "num_experts_per_tok": 2}


@pytest.mark.parametrize("technique", [MINMAX, MSE, SEQMSE, GPTQ], ids=["minmax", "mse", "seqmse", "gptq"])
def test_one_expert_is_in_memory_at_a_time(
    tmp_path: Path, technique: TechniqueConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: set[int] = set()
    most: list[int] = []
    read = Parameters.read

    def counted(self: Parameters, name: str) -> np.ndarray:
        values = read(self, name)
        if ".experts." in name and values.ndim == 2:
            assert values.shape in ((64, 32), (32, 64)), f"{name} is of all experts"
            held.add(id(values))
            weakref.finalize(values, held.discard, id(values))
            most.append(len(held))
        return values

    parameters = tiny_parameters(tmp_path, "granitemoe", **MANY, intermediate_size=32)
    monkeypatch.setattr(Parameters, "read", counted)
    quantize_model(parameters, TOKENS, technique)
    assert len(most) >= 2 * 8 * 3, "all of them were read"
    assert max(most) <= 4, "gate, up and down of one, and another down while the scales they share are found"


def test_encodings_are_those_of_each_expert_side_by_side(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, "granitemoe", **MANY, intermediate_size=32)
    params = quantize_model(parameters, TOKENS, MINMAX).encodings.params

    def scales(linear: str) -> list[np.ndarray]:
        weights = (parameters.read(f"{EXPERTS}{expert}.{linear}.weight") for expert in range(8))
        return [largest_weight_encoding(torch.from_numpy(weight), 8).scale for weight in weights]

    np.testing.assert_array_equal(params[f"{EXPERTS}up_proj.weight"].scale, np.concatenate(scales("up_proj")))
    np.testing.assert_array_equal(params[f"{EXPERTS}down_proj.weight"].scale, np.max(scales("down_proj"), axis=0))
    assert not any(f".experts.{expert}." in name for name in params for expert in range(8))


def test_block_scales_of_all_experts_share_those_of_the_channels(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, "granitemoe", **MANY, intermediate_size=64)
    params = quantize_model(parameters, TOKENS, SEQMSE).encodings.params
    down = params[f"{EXPERTS}down_proj.weight"]
    assert down.blocks is not None
    assert (down.scale.shape, down.blocks.int_scale.shape) == ((64,), (8 * 64 // 32, 64))
    whole = parameters.read(f"{EXPERTS}down_proj.weight")
    assert whole.shape == (8 * 64, 64)
    error = np.square(down.nearest(whole) - whole).sum() / np.square(whole).sum()
    assert error < 0.02
    assert params["model.layers.0.mlp.router.weight"].bitwidth == 8


def test_an_expert_that_no_token_is_given_to_is_quantized_without_inputs(tmp_path: Path) -> None:
    def never(parameters: Parameters) -> Mapping[str, np.ndarray]:
        name = "model.layers.0.mlp.router.bias"
        return {name: np.where(np.arange(4) == 2, np.float32(-1e4), parameters.read(name))}

    parameters = tiny_parameters(tmp_path, "gpt_oss", never, num_local_experts=4, num_experts_per_tok=2)
    result = quantize_model(parameters, TOKENS, SEQMSE)
    told = [note for note in result.notes if "expert" in note]
    assert told[:3] == [
        f"{EXPERTS}{linear}.weight: no token of the calibration text is given to expert 2; its weights are quantized"
        " without inputs"
        for linear in ("gate_proj", "up_proj", "down_proj")
    ]
    weight = parameters.read(f"{EXPERTS}up_proj.weight")
    nearest = result.encodings.params[f"{EXPERTS}up_proj.weight"].nearest(weight)
    lost = np.square(nearest - weight).reshape(len(weight), 4, -1).sum((0, 2))
    assert lost[2] < 1.5 * lost[[0, 1, 3]].mean(), "it is not worse for it"
