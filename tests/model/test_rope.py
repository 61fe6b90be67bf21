"""Rotary tables beyond what the logits show: far positions, normalisation, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.rope import rotary
from qairt.model.rope_scaling import normalise_rope_scaling


def config(**changes: Any) -> DecoderConfig:
    sizes: dict[str, Any] = {
        "family": "llama",
        "vocab_size": 8,
        "hidden_size": 64,
        "intermediate_size": 8,
        "num_layers": 1,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5e5,
        "max_position_embeddings": 131072,
    }
    return DecoderConfig(**(sizes | changes))


def test_far_positions_equal_hugging_face() -> None:
    stated = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model = tiny_model("llama", rope_parameters=stated, max_position_embeddings=131072)
    positions = np.array([0, 1, 511, 8191, 8192, 131071])
    cos, sin = rotary(
        config(rope_scaling=normalise_rope_scaling(stated, max_position_embeddings=131072, where="here")), positions
    )
    expected = model.model.rotary_emb(torch.zeros(1), torch.tensor(positions[None]))
    for ours, theirs in zip((cos, sin), expected, strict=True):
        assert ours.shape == (6, 8)
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs[0, :, :8].numpy()).max() < 1e-6 * 131072 / 100


def test_shape_follows_positions_and_padding_counts_as_the_first() -> None:
    cos, sin = rotary(config(), np.array([[-3, 0, 1]]))
    assert cos.shape == sin.shape == (1, 3, 8)
    np.testing.assert_array_equal(cos[0, 0], cos[0, 1])


def test_dynamic_scaling_follows_the_length_asked_for() -> None:
    scaling = {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16}
    short = rotary(config(rope_scaling=scaling), [3], length=16)
    np.testing.assert_array_equal(short[0], rotary(config(), [3])[0])
    assert not np.array_equal(rotary(config(rope_scaling=scaling), [3], length=64)[0], short[0])


@pytest.mark.parametrize("stated", [None, {}, {"rope_type": "default", "rope_theta": 1e4}, {"type": "default"}])
def test_plain_rotary_is_none(stated: Any) -> None:
    assert normalise_rope_scaling(stated, max_position_embeddings=64, where="config.json") is None


def test_the_older_key_type_is_read() -> None:
    scaling = normalise_rope_scaling({"type": "linear", "factor": 4}, max_position_embeddings=64, where="config.json")
    assert scaling == {"rope_type": "linear", "factor": 4.0, "original_max_position_embeddings": 64}


def test_yarn_without_a_factor_takes_it_from_the_lengths() -> None:
    stated = {"rope_type": "yarn", "original_max_position_embeddings": 16}
    scaling = normalise_rope_scaling(stated, max_position_embeddings=64, where="config.json")
    assert scaling is not None
    assert scaling["factor"] == 4.0


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            {"rope_type": "proportional", "factor": 2},
            "config.json: rotary scaling type 'proportional' is not supported\n"
            "  supported: default, linear, dynamic, yarn, llama3, longrope",
        ),
        (
            {"rope_type": "longrope", "short_factor": [1.0]},
            "config.json: rotary scaling of type 'longrope' lacks 'long_factor'\n"
            "  use the config.json that was published with the model",
        ),
        (
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0},
            "config.json: rotary scaling of type 'llama3' lacks 'high_freq_factor'\n"
            "  use the config.json that was published with the model",
        ),
    ],
)
def test_unusable_scaling(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as raised:
        normalise_rope_scaling(stated, max_position_embeddings=64, where="config.json")
    assert str(raised.value) == message
