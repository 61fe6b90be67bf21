"""A short convolution reads the tokens before each call, wherever the call's padding ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from family_gguf import write_gguf
from tiny_models import IDS, TINY, assert_close, hf_logits, save_tiny
from tiny_parts import float_parts

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.hf_config import read_hf_config
from qairt.model.masks import conv_places
from qairt.model.notes import Notes
from qairt.model.parameters import open_parameters
from qairt.runtime.chain import PartChain

CALLS = (7, 1, 2, 6, 3, 8, 5, 4, 1, 1)
"""Tokens of each call of AR 8: 1, 7, 6, 2, … rows of padding before them."""

PUBLISHED = {
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "block_auto_adjust_ff_dim": True,
    "block_dim": 2048,
    "block_ff_dim": 12288,
    "block_ffn_dim_multiplier": 1.0,
    "block_multiple_of": 256,
    "block_use_swiglu": True,
    "bos_token_id": 1,
    "conv_L_cache": 3,
    "conv_bias": False,
    "conv_dim": 2048,
    "eos_token_id": 7,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
    "hidden_size": 2048,
    "max_position_embeddings": 128000,
    "norm_eps": 1e-5,
    "num_attention_heads": 32,
    "num_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rope_theta": 1000000.0,
    "theta": 1000000.0,
    "tie_embedding": True,
    "use_pos_enc": True,
    "vocab_size": 65536,
}


@pytest.mark.parametrize("name", ["lfm2", "lfm2-long"])
def test_calls_of_any_length_continue_each_other(name: str, tmp_path: Path) -> None:
    family, changes = TINY[name]
    expected = hf_logits(save_tiny(tmp_path, family, **changes), IDS)
    parameters = open_parameters(tmp_path, describe_model(tmp_path).config)
    parts = float_parts(tmp_path / "parts", parameters, ars=(8,), cl=96, num_splits=2, single_heads=False)
    rows, start = [], 0
    with PartChain(parts, parameters.config) as chain:
        for count in CALLS:
            rows += list(chain.logits(IDS[start : start + count]))
            start += count
    assert_close(np.concatenate(rows), expected[:start])


def test_a_state_is_used_whole_or_not_at_all(tmp_path: Path) -> None:
    family, changes = TINY["lfm2"]
    save_tiny(tmp_path, family, **changes)
    parameters = open_parameters(tmp_path, describe_model(tmp_path).config)
    parts = float_parts(tmp_path / "parts", parameters, ars=(8, 1), cl=48, num_splits=2, single_heads=False)

    def after(ids: list[int], reused: int) -> np.ndarray:
        with PartChain(parts, parameters.config) as chain:
            chain.resume(state)
            chain.prefill(ids)
            assert chain.reused == reused
            return chain.decode(9)

    with PartChain(parts, parameters.config) as chain:
        chain.prefill(IDS[:9])
        state = chain.saved()
        chain.reset()
        chain.prefill(IDS[:12])
        whole = chain.decode(9)
        chain.reset()
        other = [*IDS[:5], 7, 8]
        chain.prefill(other)
        begun = chain.decode(9)
    assert_close(after(IDS[:12], 9), whole)
    assert_close(after(other, 0), begun)


def test_the_rows_that_are_told(tmp_path: Path) -> None:
    family, changes = TINY["lfm2"]
    save_tiny(tmp_path, family, **changes)
    config = describe_model(tmp_path).config
    assert conv_places(config, ar=4, new=3)[0].tolist() == [[0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]]
    assert conv_places(config, ar=1, new=1)[0].tolist() == [[1, 1, 0]]


def test_a_published_configuration(tmp_path: Path) -> None:
    """That of LFM2-1.2B: what its MLP's width is computed from, and keys that only its trainer reads."""
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    notes = Notes()
    config = read_hf_config(tmp_path, ["model.embed_tokens.weight"], notes)
    assert (config.intermediate_size, config.tie_word_embeddings, config.rope_theta) == (8192, True, 1e6)
    assert config.convolution is not None
    assert sorted({*range(16)} - {*config.convolution.layers}) == [2, 5, 8, 10, 12, 14]
    assert not [notice for notice in notes.notices if "means nothing" in notice]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"conv_bias": True}, "short convolutions with biases are not supported"),
        (
            {"layer_types": ["mamba", "full_attention", "conv", "conv"]},
            "layers of the type 'mamba' are not supported: they need a state-space scan",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, object], told: str, tmp_path: Path) -> None:
    family, tiny = TINY["lfm2"]
    save_tiny(tmp_path, family, **tiny)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError) as raised:
        describe_model(tmp_path)
    assert raised.value.what == told


def test_an_embedding_model_with_convolutions_is_refused(tmp_path: Path) -> None:
    family, changes = TINY["lfm2"]
    model = save_tiny(tmp_path, family, **changes)
    (tmp_path / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
    listed = [
        {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for name, path, kind in modules
    ]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(ModelError) as raised:
        describe_model(tmp_path)
    assert raised.value.what == "embedding models with short convolutions are not supported"

    write_gguf(tmp_path / "model.gguf", "lfm2", model, more={"pooling_type": 1})
    with pytest.raises(ModelError) as raised:
        describe_model(tmp_path / "model.gguf")
    assert "lfm2 with a pooled output" in raised.value.what
