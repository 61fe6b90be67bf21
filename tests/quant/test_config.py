from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from qairt.errors import QuantizationError, RecipeError
from qairt.model.config import DecoderConfig, Experts
from qairt.quant.config import ModulePrecisions, TechniqueConfig
from qairt.recipe.files import shipped_recipes
from qairt.stages.technique_file import check_technique, load_technique

SHIPPED = shipped_recipes() / "quantization"

CONFIG = DecoderConfig(
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


def test_the_shipped_techniques() -> None:
    default = load_technique(SHIPPED / "lpbq_mse.yaml")
    assert (default.technique, default.bits, default.block_size, default.scale_search) == ("lpbq", 4, 64, "mse")
    assert (default.candidates, default.importance) == (20, "energy")
    assert default.module_precisions == ModulePrecisions(lm_head=8, embedding=8, rms_norm=16)
    assert default.needs_block_quantization
    nearest = load_technique(SHIPPED / "lpbq.yaml")
    assert (nearest.technique, nearest.scale_search) == ("lpbq", "rtn")
    minmax = load_technique(SHIPPED / "minmax.yaml")
    assert (minmax.technique, minmax.bits, minmax.needs_block_quantization) == ("minmax", 8, False)


def test_changes_replace_settings_and_merge_into_precisions() -> None:
    changed = load_technique(SHIPPED / "lpbq_mse.yaml", {"block_size": 32, "module_precisions": {"embedding": 16}})
    assert changed.block_size == 32
    assert changed.module_precisions == ModulePrecisions(lm_head=8, embedding=16, rms_norm=16)


def test_an_unknown_setting_names_line_and_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("technique: lpbq\nblock_sise: 32\n")
    with pytest.raises(RecipeError) as error:
        load_technique(path)
    assert error.value.where == f"{path}:2"
    assert "block_sise" in error.value.what
    assert "block_size" in str(error.value.remedy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"technique": "minmax", "block_size": 32}, "block_size: not a setting of minmax, which has no blocks"),
        ({"technique": "lpbq", "weight_bitwidth": 8}, "weight_bitwidth: lpbq weights have 4 bits"),
        ({"technique": "lpbq", "candidates": 1}, "greater than 1"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TechniqueConfig.model_validate(settings)


def test_a_block_size_that_does_not_divide_is_refused_before_work() -> None:
    with pytest.raises(QuantizationError) as error:
        TechniqueConfig(technique="lpbq").check(CONFIG)
    assert str(error.value) == (
        "model.layers.0.mlp.down_proj.weight: block_size 64 does not divide its input width 96\n"
        "  use block_size 32 or 16, or the minmax technique"
    )
    TechniqueConfig(technique="lpbq", block_size=32).check(CONFIG)
    TechniqueConfig(technique="minmax").check(CONFIG)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"rounding": "learned"}, "rounding: learned"),
        ({"distillation_steps": 10}, "distillation_steps"),
        ({"auto_precision": {"budget_mb": 1.0}}, "auto_precision.budget_mb"),
    ],
)
def test_what_needs_a_whole_layer_is_refused_for_experts_before_work(settings: dict[str, object], where: str) -> None:
    experts = CONFIG.model_copy(update={"experts": Experts(count=4, chosen=2, width=64)})
    TechniqueConfig(technique="lpbq").check(experts)  # the width of a plain MLP is not asked for
    technique = TechniqueConfig.model_validate({"technique": "lpbq", **settings})
    with pytest.raises(QuantizationError) as error:
        technique.check(experts)
    assert str(error.value) == (
        f"{where}: it needs all weights of a layer in memory, and a mixture of experts is quantized one expert at a"
        " time\n"
        "  set stages.quantization.recipe to balanced.yaml, fast.yaml or minmax.yaml"
    )


def test_a_block_size_that_does_not_divide_the_width_of_an_expert() -> None:
    experts = CONFIG.model_copy(update={"experts": Experts(count=4, chosen=2, width=48)})
    with pytest.raises(QuantizationError) as error:
        TechniqueConfig(technique="lpbq").check(experts)
    assert str(error.value) == (
        "model.layers.0.mlp.experts.down_proj.weight: block_size 64 does not divide its input width 48\n"
        "  use block_size 16, or the minmax technique"
    )


@pytest.mark.parametrize(
    ("changes", "where", "what", "remedy"),
    [
        (
            {},
            "FILE:14",
            "distillation_steps: it needs all weights of a layer in memory, and a mixture of experts is quantized one"
            " expert at a time",
            "set stages.quantization.recipe to balanced.yaml, fast.yaml or minmax.yaml",
        ),
        (
            {"distillation_steps": 0, "block_size": 48},
            "stages.quantization.technique",
            "model.layers.0.self_attn.q_proj.weight: block_size 48 does not divide its input width 64",
            "use block_size 64 or 32 or 16, or the minmax technique",
        ),
        (
            {"distillation_steps": 0, "module_precisions": {"custom": {"down": 8}}},
            "stages.quantization.technique",
            "module_precisions.custom.down: it matches no linear of the model",
            "an expression must match the whole name: .*down.*",
        ),
    ],
)
def test_a_technique_that_cannot_quantize_a_model_is_named_by_file_and_line(changes, where, what, remedy) -> None:
    experts = CONFIG.model_copy(update={"experts": Experts(count=4, chosen=2, width=64)})
    best = SHIPPED / "best.yaml"
    with pytest.raises(QuantizationError) as raised:
        check_technique(best, changes, experts)
    assert str(raised.value) == f"{where.replace('FILE', str(best))}: {what}\n  {remedy}"
    check_technique(best, {"distillation_steps": 0}, experts)


def test_settings_load_without_torch() -> None:
    code = (
        f"import sys, qairt.stages.technique_file as c; c.load_technique({str(SHIPPED / 'lpbq_mse.yaml')!r});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_target_that_is_not_set_is_in_no_key() -> None:
    auto = {"technique": "lpbq", "auto_precision": {"budget_mb": 90}}
    settings = TechniqueConfig.model_validate(auto).settings()
    assert settings["auto_precision"] == {"budget_mb": 90, "max_ppl_increase": None}
    assert TechniqueConfig.model_validate(settings).settings() == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_bitwith": 4}, "weight_bitwith is not a setting of a technique\n  did you mean weight_bitwidth?"),
        ({"weight_bitwidth": 3}, "weight_bitwidth: input should be 4 or 8, not 3\n  change its value"),
        (
            {"module_precisions": {"lm_head": 7}},
            "module_precisions.lm_head: input should be 8, not 7\n  change its value",
        ),
    ],
)
def test_a_wrong_change_is_told_where_the_recipe_makes_it(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_technique(shipped_recipes() / "quantization" / "balanced.yaml", changes)
    assert str(raised.value) == f"stages.quantization.technique: {message}"


def test_changes_are_merged() -> None:
    path = shipped_recipes() / "quantization" / "balanced.yaml"
    plain, changed = load_technique(path), load_technique(path, {"passes": 3, "module_precisions": {"rms_norm": 8}})
    assert changed.passes == 3
    assert changed.module_precisions == plain.module_precisions.model_copy(update={"rms_norm": 8})
    assert load_technique(path, {"activation_ranges": {}}) == plain
    target = load_technique(path, {"auto_precision": {"budget_mb": 90}}).auto_precision
    assert target is not None
    assert (target.budget_mb, target.max_size_increase) == (90, None)
