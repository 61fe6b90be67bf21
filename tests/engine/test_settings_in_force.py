"""The recipe as a tree of values: merged, with their origin, and marked where the last run had others."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.engine.settings_in_force import RecipeValue, recipe_values
from qairt.llm import LLMPipeline


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, backend="CPU", technique="minmax.yaml")


def values(recipe: Path, *words: str) -> dict[str, RecipeValue]:
    pipeline = LLMPipeline.from_recipe(recipe, words, cache_dir=recipe.parent / "cache")
    return {".".join(value.path): value for value in recipe_values(pipeline).walk()}


def remember(recipe: Path, *words: str) -> None:
    """As a run does."""
    pipeline = LLMPipeline.from_recipe(recipe, words, cache_dir=recipe.parent / "cache")
    pipeline.cache.prepare()
    pipeline._write_recipe()


def test_every_value_says_where_it_comes_from(recipe: Path) -> None:
    found = values(recipe, "stages.split_model.num_splits=2")
    lines = recipe.read_text().splitlines()
    backend = found["backend"]
    assert (backend.text, backend.source) == ("CPU", "file")
    assert backend.where == f"{recipe}:{lines.index('backend: CPU') + 1}"
    splits = found["stages.split_model.num_splits"]
    assert (splits.text, splits.source, splits.where) == ("2", "command line", "command line")
    length = found["stages.quantization.act_bitwidth"]
    assert (length.text, length.source, length.where) == ("16", "default", "default")
    assert found["stages.prepare_exports.arn"].text == "[1,8]"


def test_a_technique_file_is_shown_below_its_name(recipe: Path) -> None:
    found = values(recipe)
    name = found["stages.quantization.recipe"]
    assert name.text == "minmax.yaml"
    assert [child.key for child in name.children] == [
        "technique",
        "weight_bitwidth",
        "activation_ranges",
        "module_precisions",
    ]
    bits = found["stages.quantization.technique.weight_bitwidth"]
    assert (bits.text, bits.source) == ("8", "preset")
    assert bits.where.endswith("quantization/minmax.yaml:3")


def test_stages_that_the_backend_leaves_out_are_not_shown(recipe: Path) -> None:
    assert "stages.quantize" in values(recipe)
    assert "stages.convert" not in values(recipe)


def test_nothing_differs_before_a_run_and_after_the_same_one(recipe: Path) -> None:
    assert not any(value.differs for value in values(recipe).values())
    remember(recipe)
    assert [name for name, value in values(recipe).items() if value.differs] == []


def test_what_differs_from_the_last_run_is_marked_up_to_the_top(recipe: Path) -> None:
    remember(recipe)
    content = yaml.safe_load(recipe.read_text())
    content["stages"]["quantization"]["recipe"] = "lpbq.yaml"
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    found = values(recipe, "stages.split_model.num_splits=2")
    marked = {name for name, value in found.items() if value.differs}
    assert {"", "stages", "stages.split_model", "stages.split_model.num_splits"} <= marked
    assert {"stages.quantization.recipe", "stages.quantization.technique.technique"} <= marked
    assert "stages.prepare_exports" not in marked
    assert found["stages.split_model.num_splits"].before == "3"
    assert found["stages.quantization.technique.technique"].before == "minmax"


def test_a_value_that_fell_back_to_its_default_is_marked(recipe: Path) -> None:
    remember(recipe, "stages.quantize.bias_bitwidth=8")
    value = values(recipe)["stages.quantize.bias_bitwidth"]
    assert (value.differs, value.text, value.before, value.source) == (True, "32", "8", "default")


def test_a_damaged_record_of_the_last_run_marks_nothing(recipe: Path) -> None:
    remember(recipe)
    (recipe.parent / "cache/pipeline_state/recipe.yaml").write_text("stages: [")
    assert not any(value.differs for value in values(recipe).values())


def test_a_last_recipe_of_another_version_compares_as_far_as_it_can_be_read(recipe: Path) -> None:
    remember(recipe)
    kept = recipe.parent / "cache/pipeline_state/recipe.yaml"
    stages = yaml.safe_load(kept.read_text())["stages"] | {"export": 5, "split_model": {"num_splits": 2}}
    kept.write_text(yaml.safe_dump({"stages": stages}))
    found = values(recipe)
    assert found["stages.split_model.num_splits"].before == "2"
    assert not any(value.differs for path, value in found.items() if path.startswith("stages.export."))


def test_a_value_is_copied_as_an_assignment(recipe: Path) -> None:
    found = values(recipe)
    assert found["stages.split_model.num_splits"].assignment == "stages.split_model.num_splits=3"
    assert found["stages.split_model"].assignment == "stages.split_model"
