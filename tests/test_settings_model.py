"""Settings that people write: `true` is no number, wherever a setting takes one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import TypeAdapter, ValidationError
from tiny_recipe import write_recipe

import qairt.stages  # noqa: F401 - registers them
from qairt.cli.main import main
from qairt.engine.stage import registered_stages
from qairt.quant.config import TechniqueConfig
from qairt.recipe.settings import RecipeSettings
from qairt.settings_model import SettingsModel
from qairt.tui.settings import UserSettings

MODELS = [RecipeSettings, TechniqueConfig, UserSettings, *(each.config_type for each in registered_stages().values())]


def number_settings() -> Iterator[tuple[type[SettingsModel], str]]:
    """Those whose JSON schema is a number, a list of numbers or a mapping to numbers; the recipe's and those inside."""
    for model in MODELS:
        schema = TypeAdapter(model).json_schema()
        inside = {kind.__name__: kind for kind in SettingsModel.__subclasses__()}
        for name, of_model in [(model.__name__, schema), *schema.get("$defs", {}).items()]:
            for field, said in of_model.get("properties", {}).items():
                if "number" in repr(said) or "integer" in repr(said):
                    yield model if name == model.__name__ else inside[name], field


@pytest.mark.parametrize(
    ("model", "field"), sorted(set(number_settings()), key=repr), ids=lambda each: getattr(each, "__name__", each)
)
def test_true_is_no_number(model: type[SettingsModel], field: str) -> None:
    for value in (True, [True], {"split": True}):
        with pytest.raises(ValidationError) as raised:
            model.model_validate({field: value})
        assert field in {error["loc"][0] for error in raised.value.errors()}


def test_the_recipe_holds_many_numbers() -> None:
    assert {field for _, field in number_settings()} >= {"num_splits", "arn", "min_cpu_db", "block_size", "where"}


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("stages.split_model.num_splits=true", "stages.split_model.num_splits: input should be an integer, not true"),
        ("stages.prepare_exports.arn=[true]", "stages.prepare_exports.arn: input should be an integer, not [true]"),
        ("verify.min_cpu_db=true", "verify.min_cpu_db: input should be a number, not true"),
        ("verify.min_cpu_db=.nan", "verify.min_cpu_db: input should be a finite number, not nan"),
        (
            "stages.quantize.overrides=[{where: {split: true}, set: {act_bitwidth: 8}}]",
            "stages.quantize.overrides.0.where: input should be an integer, not {split: true}",
        ),
        (
            "stages.quantize.overrides=[{where: {split: 1}, set: {act_bitwidth: true}}]",
            "stages.quantize.overrides.0.set.act_bitwidth: input should be an integer, not true",
        ),
        (
            "evaluator.metrics=[{name: perplexity, chunks: true}]",
            "evaluator.metrics.0.chunks: input should be an integer, not true",
        ),
    ],
)
def test_a_recipe_with_true_in_place_of_a_number(tmp_path, capsys, override, what):
    recipe = write_recipe(tmp_path)
    capsys.readouterr()
    assert main(["plan", str(recipe), override]) == 2
    assert capsys.readouterr().err.startswith(f"Error: command line: {what}\n  change its value")


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("stages.export.onnx=3", "stages.export.onnx: input should be a path, not 3"),
        ("evaluator.metrics=[{name: [true, null]}]", "there is no metric [true, null]"),
        ("stages.prepare_exports.arn=null", "stages.prepare_exports.arn: input should be a valid list, not null"),
        (
            "stages.prepare_exports.arn={a: [null, x, 1.5]}",
            "stages.prepare_exports.arn: input should be a valid list, not {a: [null, 'x', 1.5]}",
        ),
    ],
)
def test_wrong_values_are_shown_as_they_are_written(tmp_path, capsys, override, what):
    recipe = write_recipe(tmp_path)
    capsys.readouterr()
    assert main(["plan", str(recipe), override]) == 2
    assert capsys.readouterr().err.startswith(f"Error: command line: {what}\n")


def test_an_unknown_setting_in_an_override_is_named(tmp_path, capsys):
    recipe = write_recipe(tmp_path)
    capsys.readouterr()
    assert main(["plan", str(recipe), "stages.quantize.overrides=[{where: {split: 1}, set: {act_bitwith: 8}}]"]) == 2
    assert capsys.readouterr().err == (
        "Error: command line: stages.quantize.overrides.0.set.act_bitwith is not a setting of quantize\n"
        "  did you mean act_bitwidth?\n"
    )
