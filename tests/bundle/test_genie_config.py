from __future__ import annotations

import json
from typing import Any

import pytest

from qairt.bundle.genie_config import GenieFiles, GenieHost, genie_config
from qairt.errors import ModelError
from qairt.model.config import DecoderConfig

LLAMA = DecoderConfig(
    family="llama",
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    rms_norm_eps=1e-5,
    rope_theta=500000.0,
    bos_token_id=128000,
    eos_token_ids=(128001, 128008, 128009),
)
"""The shape of Llama 3, with plain rotary embedding."""


def made(config: DecoderConfig = LLAMA, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"context_size": 4096, "files": GenieFiles(["a.bin", "b.bin"])}
    return genie_config(config, **(settings | changes))["dialog"]


def htp(dialog: dict[str, Any]) -> dict[str, Any]:
    return dialog["engine"]["backend"]["QnnHtp"]


def test_the_context_is_the_models():
    assert made()["context"] == {
        "version": 1,
        "size": 4096,
        "n-vocab": 128256,
        "bos-token": 128000,
        "eos-token": [128001, 128008, 128009],
    }


@pytest.mark.parametrize("theta", [10000.0, 500000.0, 1e6, 10000.75])
def test_theta_is_never_cut(theta: float):
    stated = htp(made(LLAMA.model_copy(update={"rope_theta": theta})))["rope-theta"]
    assert stated == theta
    assert isinstance(stated, float)
    assert json.loads(json.dumps(stated)) == theta


@pytest.mark.parametrize(("head_dim", "angles"), [(64, 32), (128, 64), (80, 40)])
def test_head_sizes(head_dim: int, angles: int):
    found = htp(made(LLAMA.model_copy(update={"head_dim": head_dim})))
    assert (found["kv-dim"], found["pos-id-dim"]) == (head_dim, angles)


def test_one_end_token_is_a_number_and_several_a_list():
    assert made(LLAMA.model_copy(update={"eos_token_ids": (2,)}))["context"]["eos-token"] == 2
    assert made(LLAMA.model_copy(update={"eos_token_ids": (2, 7)}))["context"]["eos-token"] == [2, 7]


def test_a_model_without_beginning_has_none():
    assert made(LLAMA.model_copy(update={"bos_token_id": None}))["context"]["bos-token"] == -1


@pytest.mark.parametrize(
    ("kv_heads", "head_dim", "runs"), [(1, 20, False), (2, 18, False), (2, 20, True), (1, 16, True)]
)
def test_keys_that_genie_reads_wrongly_are_refused(kv_heads: int, head_dim: int, runs: bool):
    config = LLAMA.model_copy(update={"num_kv_heads": kv_heads, "head_dim": head_dim})
    if runs:
        assert made(config)
        return
    with pytest.raises(ModelError, match=rf" {kv_heads * head_dim} here, is not a multiple of 8\n  leave "):
        made(config)


def test_a_model_without_end_is_refused():
    with pytest.raises(ModelError) as caught:
        made(LLAMA.model_copy(update={"eos_token_ids": ()}))
    assert str(caught.value) == (
        "eos_token_id: the model has no end-of-text token, so Genie would never stop\n"
        "  set eos_token_id in the model's config.json or generation_config.json"
    )


def test_binaries_stay_in_order_and_paths_as_given():
    engine = made(files=GenieFiles(["x/2.bin", "x/1.bin"], extensions="htp.json"))["engine"]
    assert engine["model"]["binary"]["ctx-bins"] == ["x/2.bin", "x/1.bin"]
    assert engine["backend"]["extensions"] == "htp.json"
    assert "extensions" not in made()["engine"]["backend"]


def test_the_processors_share_is_the_callers():
    dialog = made(host=GenieHost(threads=1, cpu_mask="0x3", poll=False))
    assert (dialog["engine"]["n-threads"], htp(dialog)["cpu-mask"], htp(dialog)["poll"]) == (1, "0x3", False)


def test_with_rope_scaling_theta_and_dimension_stand_in_the_encoding_only():
    scaling = {"rope_type": "linear", "factor": 2.0, "original_max_position_embeddings": 4096}
    dialog = made(LLAMA.model_copy(update={"rope_scaling": scaling}))
    assert not {"rope-theta", "pos-id-dim"} & htp(dialog).keys()
    assert dialog["engine"]["model"]["positional-encoding"] == {
        "type": "rope",
        "rope-dim": 64,
        "rope-theta": 500000.0,
        "rope-scaling": {"rope-type": "linear", "factor": 2.0},
    }
