from __future__ import annotations

import pytest

from qairt.bundle.windows import require_one_kind
from qairt.errors import ModelError
from qairt.model.config import Convolution, DecoderConfig, LocalRotary

CONFIG = DecoderConfig(
    family="gemma2",
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    rms_norm_eps=1e-6,
    rope_theta=1e4,
    sliding_window=4096,
    windowed_layers=(0,),
)


def refused(config: DecoderConfig, context_size: int) -> str:
    with pytest.raises(ModelError) as raised:
        require_one_kind(config, context_size=context_size, program="Genie")
    return str(raised.value)


def test_a_window_counts_where_the_context_exceeds_it() -> None:
    require_one_kind(CONFIG, context_size=4096, program="Genie")
    require_one_kind(CONFIG.model_copy(update={"sliding_window": None}), context_size=8192, program="Genie")
    assert refused(CONFIG, 4097) == (
        "stages.prepare_exports.context_length: Genie computes no mask for layers with windowed attention, which look "
        "back 4,096 of the context's 4,097 tokens\n"
        "  use at most 4096, where the windows hide nothing; or leave export_bundle out of the recipe: "
        "run the graphs by `qairt generate`, and hand them on by `qairt export RECIPE DIR --layout workfolder`"
    )


def test_short_convolutions_are_refused() -> None:
    config = CONFIG.model_copy(update={"convolution": Convolution(layers=(1,), length=3)})
    assert refused(config, 32) == (
        "gemma2: Genie keeps keys and values only, and layers with a short convolution keep what it reads of the last 2"
        " tokens\n"
        "  leave export_bundle out of the recipe: "
        "run the graphs by `qairt generate`, and hand them on by `qairt export RECIPE DIR --layout workfolder`"
    )


def test_a_second_rotary_embedding_is_refused() -> None:
    config = CONFIG.model_copy(update={"local_rotary": LocalRotary(theta=1e4)})
    assert refused(config, 32) == (
        "gemma2: Genie computes one rotary embedding, and the model's windowed layers have one of their own\n"
        "  leave export_bundle out of the recipe: "
        "run the graphs by `qairt generate`, and hand them on by `qairt export RECIPE DIR --layout workfolder`"
    )
