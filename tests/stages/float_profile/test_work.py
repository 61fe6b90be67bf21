"""What a decoder needs by its shape is what torch counts while it runs, for every family."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import TINY
from tiny_parameters import tiny_parameters
from torch.utils.flop_counter import FlopCounterMode

from qairt.stages.float_profile.passes import ReferenceOnDevice
from qairt.stages.float_profile.work import bytes_read, decode_bytes, decode_flops, matrix_flops, weight_bytes


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "qwen3_moe"])
def test_flops_are_those_that_torch_counts(tmp_path: Path, family: str):
    model = ReferenceOnDevice(tiny_parameters(tmp_path, family, **TINY[family][1]))
    with FlopCounterMode(display=False) as prefill:
        model.prefill(list(range(3, 24)))
    assert prefill.get_total_flops() == matrix_flops(model.config, 21)
    with FlopCounterMode(display=False) as decode:
        for token in (5, 6, 7):
            model.decode(token)
    assert decode.get_total_flops() == decode_flops(model.config, 21, 3)
    assert decode_flops(model.config, 21, 0) == 0


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "qwen3_moe"])
def test_weights_are_those_that_are_held(tmp_path: Path, family: str):
    parameters = tiny_parameters(tmp_path, family, tie_word_embeddings=True, **TINY[family][1])
    constants = ("mlp.router.chosen", "mlp.router.others")
    stored = [name for name in parameters.names() if not name.endswith(constants)]
    assert weight_bytes(parameters.config) == sum(parameters.read(name).nbytes for name in stored)


def test_bytes_are_the_weights_once_and_the_cache(tmp_path: Path):
    parameters = tiny_parameters(tmp_path)
    config = parameters.config
    read = [name for name in parameters.names() if name != "model.embed_tokens.weight"]
    weights = sum(parameters.read(name).nbytes for name in read)
    row = 4 * config.hidden_size
    cache_of_a_token = 4 * 2 * config.num_layers * config.num_kv_heads * config.head_dim
    assert bytes_read(config, 1, 9) == weights + row + 10 * cache_of_a_token
    assert bytes_read(config, 10) == weights + 10 * row + 10 * cache_of_a_token
    assert decode_bytes(config, 9, 2) == bytes_read(config, 1, 9) + bytes_read(config, 1, 10)
