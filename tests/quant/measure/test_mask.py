from __future__ import annotations

from qairt.model.config import DecoderConfig
from qairt.quant.measure.mask import mask_floor

LLAMA = DecoderConfig(
    family="llama",
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_layers=1,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    rms_norm_eps=1e-5,
    rope_theta=1e4,
)
QWEN2 = LLAMA.model_copy(update={"family": "qwen2"})


def test_the_family_decides_while_its_floor_reaches() -> None:
    assert mask_floor(LLAMA, None, 0.0) == (-50.0, [])
    assert mask_floor(LLAMA, None, 30.0) == (-50.0, [])
    assert mask_floor(QWEN2, None, 300.0) == (-1000.0, [])


def test_scores_that_need_more_get_it_and_the_user_is_told() -> None:
    assert mask_floor(LLAMA, None, 73.0) == (
        -100.0,
        ["mask_floor is -100 instead of -50, because of this model's scores"],
    )


def test_what_a_recipe_asks_for_is_used_with_a_warning_when_it_leaks() -> None:
    assert mask_floor(LLAMA, -50.0, 10.0) == (-50.0, [])
    note = "mask_floor -50 lets masked tokens leak: this model needs -100 or less"
    assert mask_floor(LLAMA, -50.0, 73.0) == (-50.0, [note])
