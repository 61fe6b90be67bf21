"""Rotary settings of a `config.json`, read as transformers reads them: families with settings by type of layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import TINY, assert_close, hf_logits, save_tiny
from transformers import AutoModelForCausalLM

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference

IDS = list(range(3, 43))
REMOVED = "removed"
LINEAR = {"rope_type": "linear", "factor": 8.0}
OLD = {"type": "linear", "factor": 8.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
DEFAULT = {"rope_type": "default"}
BY_TYPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 5e4},
    "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
}
WITHOUT_KIND = {"full_attention": {"rope_theta": 5e4}, "sliding_attention": {"rope_theta": 777.0}}
LOCAL = {"sliding_attention": {"rope_theta": 777.0}}


def save(directory: Path, family: str, changes: dict[str, Any]) -> None:
    own = TINY[family][1] | {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
    save_tiny(directory, family, **own)
    path = directory / "config.json"
    stated = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in stated.items() if value != REMOVED}))


def notices_of_equal_logits(directory: Path) -> list[str]:
    """Compare the logits with those of transformers; the keys that are told to mean nothing."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    description = describe_model(directory)
    assert_close(Reference(open_parameters(directory, description.config)).logits(IDS).numpy(), hf_logits(model, IDS))
    return [notice.removeprefix("config.json: ").partition(" means nothing")[0] for notice in description.notices]


@pytest.mark.parametrize("family", ["gemma3_text", "olmo3"])
@pytest.mark.parametrize(
    ("changes", "unread"),
    [
        ({"rope_parameters": REMOVED}, []),
        ({"rope_parameters": REMOVED, "rope_scaling": LINEAR}, []),
        ({"rope_parameters": REMOVED, "rope_scaling": OLD}, ["rope_scaling.factor", "rope_scaling.type"]),
        ({"rope_parameters": REMOVED, "rope_scaling": LINEAR | OLD}, []),
        ({"rope_parameters": REMOVED, "rope_scaling": LINEAR | {"rope_theta": 333.0}}, []),
        ({"rope_parameters": REMOVED, "rope_theta": 555.0}, []),
        ({"rope_parameters": REMOVED, "rope_scaling": YARN, "original_max_position_embeddings": 16}, []),
        ({"rope_parameters": REMOVED, "rope_scaling": YARN | {"original_max_position_embeddings": 16}}, []),
        ({"rope_parameters": BY_TYPE, "rope_scaling": LINEAR}, []),
        ({"rope_parameters": BY_TYPE, "rope_scaling": OLD}, ["rope_scaling.factor", "rope_scaling.type"]),
        ({"rope_parameters": BY_TYPE, "rope_scaling": {}}, []),
        ({"rope_parameters": BY_TYPE, "rope_theta": 555.0}, []),
        ({"rope_parameters": WITHOUT_KIND, "rope_scaling": OLD}, []),
        ({"rope_parameters": WITHOUT_KIND | {"full_attention": OLD}}, []),
        ({"rope_parameters": LOCAL}, []),
        ({"rope_parameters": {}}, []),
        ({"rope_parameters": LINEAR}, ["rope_parameters.factor", "rope_parameters.rope_type"]),
        (
            {"rope_parameters": REMOVED, "rope_scaling": {"full_attention": LINEAR, "sliding_attention": DEFAULT}},
            ["rope_scaling.full_attention", "rope_scaling.sliding_attention"],
        ),
    ],
)
def test_settings_by_type_of_layer(family: str, changes: dict[str, Any], unread: list[str], tmp_path: Path) -> None:
    save(tmp_path, family, changes)
    assert notices_of_equal_logits(tmp_path) == unread


@pytest.mark.parametrize(("family", "unread"), [("gemma3_text", []), ("olmo3", ["rope_local_base_freq"])])
def test_the_base_of_windowed_layers_is_a_key_of_gemma_alone(family: str, unread: list[str], tmp_path: Path) -> None:
    save(tmp_path, family, {"rope_parameters": REMOVED, "rope_local_base_freq": 99.0})
    assert notices_of_equal_logits(tmp_path) == unread


@pytest.mark.parametrize("parameters", [LOCAL, LINEAR, {}, {"full_attention": None}])
def test_a_scaling_that_nothing_takes_is_refused(parameters: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path, "gemma3_text", {"rope_parameters": parameters, "rope_scaling": LINEAR})
    with pytest.raises((KeyError, AttributeError)):
        AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ModelError) as raised:
        describe_model(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}/config.json: rope_parameters has no full_attention settings that rope_scaling could be added to\n"
        "  move rope_scaling to rope_parameters.full_attention"
    )


def test_settings_of_a_type_of_layer_that_are_no_mapping_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "olmo3", {"rope_parameters": {"full_attention": True}})
    with pytest.raises(ModelError, match=r"rope_parameters\.full_attention is true, not a mapping"):
        describe_model(tmp_path)


def test_empty_rope_parameters_are_not_the_familys_own(tmp_path: Path) -> None:
    save_tiny(tmp_path, "gpt_oss", **TINY["gpt_oss"][1])
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_parameters": {}}))
    assert notices_of_equal_logits(tmp_path) == []
    assert describe_model(tmp_path).config.rope_scaling is None


def test_gemma_3_does_not_cap_its_scores(tmp_path: Path) -> None:
    save(tmp_path, "gemma3_text", {"attn_logit_softcapping": 0.5, "final_logit_softcapping": 3.0})
    assert notices_of_equal_logits(tmp_path) == []
    assert np.isclose(describe_model(tmp_path).config.logits_cap, 3.0)
