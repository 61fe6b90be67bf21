from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.quant.config import ModulePrecisions
from qairt.quant.precisions import linear_bits, linear_shapes

CONFIG = DecoderConfig(
    family="qwen2",
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_layers=12,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    rms_norm_eps=1e-5,
    rope_theta=1e4,
    qkv_bias=True,
)


def eight(custom: dict[str, int]) -> list[str]:
    """What of the model gets 8 bits where the technique has 4."""
    bits = linear_bits(ModulePrecisions.model_validate({"custom": custom}), 4, CONFIG)
    assert set(bits) == set(linear_shapes(CONFIG))
    assert set(bits.values()) <= {4, 8}
    return [name.removeprefix("model.layers.") for name, asked in bits.items() if asked == 8]


def test_linears_in_their_order_without_biases_and_norms() -> None:
    shapes = linear_shapes(CONFIG)
    assert len(shapes) == 12 * 7
    assert list(shapes)[:2] == ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"]
    assert shapes["model.layers.11.self_attn.v_proj.weight"] == (64, 32)
    assert shapes["model.layers.11.mlp.down_proj.weight"] == (96, 64)


def test_all_have_the_techniques_bits() -> None:
    assert eight({}) == []
    assert set(linear_bits(ModulePrecisions(), 8, CONFIG).values()) == {8}


def test_by_name() -> None:
    assert eight({"model.layers.1.mlp.down_proj": 8}) == ["1.mlp.down_proj.weight"]


def test_by_expression_over_the_whole_name() -> None:
    assert eight({r"model\.layers\.(0|11)\.self_attn\.[qk]_proj": 8}) == [
        "0.self_attn.q_proj.weight",
        "0.self_attn.k_proj.weight",
        "11.self_attn.q_proj.weight",
        "11.self_attn.k_proj.weight",
    ]
    assert len(eight({r".*\.down_proj": 8})) == 12


def test_a_name_goes_before_expressions_and_the_first_of_those_counts() -> None:
    found = eight({r".*\.mlp\..*": 8, r".*": 4, "model.layers.3.mlp.up_proj": 4})
    assert len(found) == 12 * 3 - 1
    assert "3.mlp.up_proj.weight" not in found


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("model.layers.3.mlp.down_prj", "the nearest names: model.layers.3.mlp.down_proj, "),
        ("model.layers.12.mlp.down_proj", "the nearest names: "),
        ("down_proj", "an expression must match the whole name: .*down_proj"),
        ("layers.1.mlp", "an expression must match the whole name: .*layers.1.mlp.*"),
        ("model.layers.3.mlp.down_proj.weight", "remove .weight: patterns match module names"),
        ("lm_head", "set module_precisions.lm_head"),
        ("model.embed_tokens", "set module_precisions.embedding"),
        ("", "an expression must match the whole name: .*"),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_with_what_is_near(pattern: str, remedy: str) -> None:
    with pytest.raises(QuantizationError) as error:
        eight({".*": 8, pattern: 8})
    assert error.value.where == f"module_precisions.custom.{pattern}"
    assert error.value.what == "it matches no linear of the model"
    assert str(error.value.remedy).startswith(remedy)


def test_what_is_no_expression_or_no_bitwidth() -> None:
    with pytest.raises(ValidationError, match=r"'\(' is not a regular expression"):
        ModulePrecisions.model_validate({"custom": {"(": 8}})
    with pytest.raises(ValidationError, match="4 or 8"):
        ModulePrecisions.model_validate({"custom": {".*": 16}})
    with pytest.raises(ValidationError, match="8 or 16"):
        ModulePrecisions.model_validate({"kv_cache": 4})


def test_without_torch() -> None:
    code = (
        "import sys, qairt.quant.precisions, qairt.quant.measure.activation_ranges; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
