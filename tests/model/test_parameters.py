"""Graph parameters: transposed, scale folded, tied head of its own, NaN refused."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import save_tiny, tiny_model

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.open_weights import open_weights
from qairt.model.parameters import Parameters, open_parameters, transposed

Q = "model.layers.1.self_attn.q_proj"


def parameters_of(path: Path) -> Parameters:
    return open_parameters(path, describe_model(path).config)


def test_layout(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "qwen2", tie_word_embeddings=True)
    parameters, weights = parameters_of(tmp_path), dict(model.named_parameters())
    scale = np.float32(1 / sqrt(16))
    expected = {
        f"{Q}.weight": weights[f"{Q}.weight"].detach().numpy().T * scale,
        f"{Q}.bias": weights[f"{Q}.bias"].detach().numpy() * scale,
        "model.layers.0.mlp.down_proj.weight": weights["model.layers.0.mlp.down_proj.weight"].detach().numpy().T,
        "model.layers.0.self_attn.k_proj.bias": weights["model.layers.0.self_attn.k_proj.bias"].detach().numpy(),
        "model.embed_tokens.weight": weights["model.embed_tokens.weight"].detach().numpy(),
        "lm_head.weight": weights["model.embed_tokens.weight"].detach().numpy().T,
    }
    for name, values in expected.items():
        read = parameters.read(name)
        np.testing.assert_array_equal(read, values)
        assert read.flags.c_contiguous
        assert read.dtype == np.float32
    for name in parameters.names():
        assert parameters.read(name).shape == parameters.shape(name)


def test_with_a_query_norm_the_scale_goes_there(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "qwen3")
    parameters, weights = parameters_of(tmp_path), dict(model.named_parameters())
    norm = "model.layers.1.self_attn.q_norm.weight"
    np.testing.assert_array_equal(parameters.read(norm), weights[norm].detach().numpy() * np.float32(0.25))
    np.testing.assert_array_equal(parameters.read(f"{Q}.weight"), weights[f"{Q}.weight"].detach().numpy().T)


def test_names_are_in_graph_order(tmp_path: Path) -> None:
    save_tiny(tmp_path, "qwen3", tie_word_embeddings=True)
    parameters = parameters_of(tmp_path)
    names = parameters.names()
    assert names[0] == "model.embed_tokens.weight"
    assert names[-2:] == ["model.norm.weight", "lm_head.weight"]
    assert parameters.layer_names(1) == [name for name in names if name.startswith("model.layers.1.")]
    assert [name.removeprefix("model.layers.0.") for name in parameters.layer_names(0)][:6] == [
        "input_layernorm.weight",
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.q_norm.weight",
        "self_attn.k_norm.weight",
    ]


def test_overlay_replaces_what_it_holds(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", "llama")
    config = describe_model(tmp_path / "model").config
    changed = np.ones((64, 64), np.float32)
    plain = open_parameters(tmp_path / "model", config)
    parameters = open_parameters(tmp_path / "model", config, {f"{Q}.weight": changed})
    np.testing.assert_array_equal(parameters.read(f"{Q}.weight"), changed)
    other = "model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_array_equal(parameters.read(other), plain.read(other))


def test_overlay_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    overlay = {f"{Q}.weight": np.ones((64, 32), np.float32)}
    parameters = open_parameters(tmp_path, describe_model(tmp_path).config, overlay)
    with pytest.raises(ModelError) as raised:
        parameters.read(f"{Q}.weight")
    assert str(raised.value) == (
        f"{tmp_path / 'model.safetensors'}: the parameter {Q}.weight has shape [64, 32], expected [64, 64]\n"
        "  use the config.json that was published with the weights"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_numbers_are_refused(value: float, tmp_path: Path) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4:6] = value
    model.save_pretrained(tmp_path)
    parameters = parameters_of(tmp_path)
    parameters.read("model.layers.0.mlp.up_proj.weight")
    with pytest.raises(ModelError) as raised:
        parameters.read("model.layers.1.mlp.up_proj.weight")
    assert str(raised.value) == (
        f"{tmp_path / 'model.safetensors'}: "
        "the weight model.layers.1.mlp.up_proj.weight holds 2 NaN or infinite values\n"
        "  download the model again, or use another checkpoint"
    )


def test_embedding_in_float32_is_not_copied(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    values = parameters_of(tmp_path).read("model.embed_tokens.weight")
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_transpose_by_tiles_is_a_transpose() -> None:
    matrix = np.arange(1300 * 700, dtype=np.float32).reshape(1300, 700)
    np.testing.assert_array_equal(transposed(matrix), matrix.T)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    with pytest.raises(ModelError, match=r"the weight model\.layers\.9\.x is missing"):
        open_weights(tmp_path).read("model.layers.9.x")
