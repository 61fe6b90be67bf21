"""LoRA branches compute what peft computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_adapters import made_adapter, peft_model, ranks_of, save_with_peft
from tiny_models import hf_logits, save_tiny, tiny_model

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.lora.shape import LoraShape, base_values, branch_values, constant_values, normalised, shape_of
from qairt.model.names import branch_names
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.reference import Reference
from qairt.model.rotation import Rotation
from qairt.runtime.metrics import sqnr_db

IDS = np.random.default_rng(0).integers(3, 128, 24)


def tiny(folder: Path, family: str = "llama", **changes: Any) -> Parameters:
    save_tiny(folder, family, **changes)
    return open_parameters(folder, describe_model(folder).config)


@pytest.mark.parametrize(
    ("family", "rotated"),
    [(name, rotated) for name in ("llama", "qwen2", "qwen3") for rotated in (False, True)]
    + [(name, False) for name in ("granite", "gemma2", "cohere")],
)
def test_the_branch_is_what_peft_computes(tmp_path: Path, family: str, rotated: bool) -> None:
    parameters = tiny(tmp_path / "hf", family)
    config = parameters.config
    if rotated:
        parameters = Parameters(parameters.source, config, rotation=Rotation.of(config, values=True, seed=1))
    adapters = [made_adapter(config, "wide", 4), made_adapter(config, "narrow", 2, ["q_proj", "v_proj", "down_proj"])]
    strengths = [0.7, 0.5]
    shape = shape_of(config, [["wide"], ["wide", "narrow"]], ranks_of(*adapters))
    values = branch_values(shape, list(zip(adapters, strengths, strict=True)), parameters)
    assert {name: value.shape for name, value in values.items()} == shape.input_shapes(config)

    folders = [save_with_peft(adapter, tiny_model(family), tmp_path) for adapter in adapters]
    with torch.inference_mode():
        expected = hf_logits(peft_model(tiny_model(family), folders, strengths), IDS.tolist())
    base = hf_logits(tiny_model(family), IDS.tolist())
    assert sqnr_db(expected, base) < 20
    assert sqnr_db(expected, Reference(parameters, branches=values).logits(IDS).numpy()) >= 100
    zeros = Reference(parameters, branches=base_values(shape, config)).logits(IDS)
    torch.testing.assert_close(zeros, Reference(parameters).logits(IDS), rtol=0, atol=0)

    switched = shape_of(config, [["wide"], ["wide", "narrow"]], ranks_of(*adapters), hot_switch=True)
    constants = dict(constant_values(switched, {each.name: each for each in adapters}, parameters))
    assert {name: value.shape for name, value in constants.items()} == switched.constant_shapes(config)
    alpha = branch_values(switched, list(zip(adapters, strengths, strict=True)), parameters)
    assert {name: value.tolist() for name, value in alpha.items()} == {"lora_alpha": [[pytest.approx(strengths)]]}
    assert sqnr_db(expected, Reference(parameters, branches=constants | alpha).logits(IDS).numpy()) >= 100
    zeros = Reference(parameters, branches=constants | base_values(switched, config)).logits(IDS)
    torch.testing.assert_close(zeros, Reference(parameters).logits(IDS), rtol=0, atol=0)


def test_the_text_of_a_shape_is_that_of_finished_graphs() -> None:
    assert LoraShape(ranks={"model.layers.0.mlp.up_proj": 2}).model_dump_json() == (
        '{"ranks":{"model.layers.0.mlp.up_proj":2}}'
    )
    switched = LoraShape(ranks={"model.layers.0.mlp.up_proj": 2}, adapters=("one",))
    assert LoraShape.model_validate_json(switched.model_dump_json()) == switched


def test_r_is_the_largest_sum_of_ranks_made_even_and_the_rest_is_zero(tmp_path: Path) -> None:
    parameters = tiny(tmp_path)
    config = parameters.config
    one = made_adapter(config, "one", 4, ["q_proj"])
    two = made_adapter(config, "two", 3, ["q_proj", "v_proj"])
    shape = shape_of(config, [["one"], ["one", "two"], ["two"]], ranks_of(one, two))
    layer = {"model.layers.0.self_attn.q_proj": 8, "model.layers.0.self_attn.v_proj": 4}
    assert shape.ranks == layer | {name.replace(".0.", ".1."): rank for name, rank in layer.items()}
    values = branch_values(shape, [(two, 1.0)], parameters)
    a, b = (values[name] for name in branch_names("model.layers.1.self_attn.q_proj"))
    assert np.all(np.abs(a[:, :3]).max(0) == 1)
    assert not a[:, 3:].any()
    assert not b[3:].any()
    adapted = two.modules["model.layers.1.self_attn.q_proj"]
    wanted = adapted.a @ adapted.b * adapted.scaling / 4  # 1 / sqrt(head_dim) is in q_proj
    np.testing.assert_allclose(a @ b, wanted, rtol=1e-5, atol=1e-6)


def test_a_column_of_zeros_stays(tmp_path: Path) -> None:
    a, b = normalised(np.array([[0, 2.0], [0, -4.0]], np.float32), np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(a, [[0, 0.5], [0, -1]])
    np.testing.assert_array_equal(b, [[1, 1, 1], [4, 4, 4]])


def test_an_adapter_that_the_graphs_were_not_built_for(tmp_path: Path) -> None:
    parameters = tiny(tmp_path)
    config = parameters.config
    one, two = made_adapter(config, "one", 4, ["q_proj"]), made_adapter(config, "two", 4, ["k_proj"])
    shape = shape_of(config, [["one"]], ranks_of(one))
    with pytest.raises(ModelError) as error:
        branch_values(shape, [(two, 1.0)], parameters)
    assert str(error.value) == (
        "adapter two: the graphs were not built for this adapter: they have no branch at"
        " model.layers.0.self_attn.k_proj\n  qairt run builds them again"
    )
    with pytest.raises(ModelError) as error:
        branch_values(shape, [(one, 1.0), (made_adapter(config, "three", 2, ["q_proj"]), 1.0)], parameters)
    assert str(error.value) == (
        "adapter one and three: the graphs were not built for this adapter: model.layers.0.self_attn.q_proj has rank 4,"
        " they need 6\n  qairt run builds them again"
    )
