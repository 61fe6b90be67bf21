"""Files that a recipe names are absolute once it is read, wherever that is; what is resumed is what ran."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import BaseModel
from tiny_recipe import write_recipe

from qairt.engine.cache.cache import StageCache
from qairt.errors import ModelError, RecipeError
from qairt.evaluate.choice import chosen_metrics
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe
from qairt.recipe.configs import LoRAFeatureConfig
from qairt.recipe.file_settings import make_files_absolute
from qairt.recipe.files import RecipeFile, shipped_recipes
from qairt.stages.export import ExportConfig
from qairt.stages.quantization import QuantizationConfig

TECHNIQUE = "technique: minmax\nweight_bitwidth: 8\n"
OTHER = "technique: lpbq\nblock_size: 32\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that names a technique of its own."""
    path = write_recipe(tmp_path / "home", backend="CPU", technique="mine.yaml")
    (tmp_path / "home" / "quantization").mkdir()
    (tmp_path / "home" / "quantization" / "mine.yaml").write_text(TECHNIQUE)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files of the names that the recipe uses."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "mine.yaml").write_text(OTHER)
    (folder / "text.txt").write_text("another text " * 400)
    monkeypatch.chdir(folder)
    return folder


def opened(recipe: Path, *words: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, words, cache_dir=recipe.parent / "cache")


def changed(recipe: Path, change: dict, stage: str | None = None) -> Path:
    content = yaml.safe_load(recipe.read_text())
    (content["stages"][stage] if stage else content).update(change)
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    return recipe


def keys(pipeline: LLMPipeline) -> dict[str, str]:
    return {f"{item.stage.name} {item.label}": item.key for item in pipeline.plan().items}


def started(pipeline: LLMPipeline) -> LLMPipeline:
    """What a run leaves of its recipe."""
    pipeline.cache.prepare()
    pipeline._write_recipe()
    return pipeline


# Keys


def test_relative_and_absolute_names_give_the_same_keys(recipe, elsewhere):
    relative = keys(opened(recipe))
    home = recipe.parent
    changed(recipe, {"model_id_or_path": str(home / "model")})
    quantization = {"recipe": str(home / "quantization" / "mine.yaml"), "calibration_text": str(home / "text.txt")}
    changed(recipe, quantization, "quantization")
    assert keys(opened(recipe)) == relative


def test_names_of_files_are_in_no_key():
    for settings in (
        {"recipe": "mine.yaml", "calibration_text": "text.txt"},
        {"recipe": "/home/mine.yaml", "calibration_text": "/home/text.txt"},
    ):
        config = QuantizationConfig.model_validate(settings)
        key = StageCache.compute_key("quantization", QuantizationConfig())
        assert StageCache.compute_key("quantization", config) == key
    export = ExportConfig.model_validate({"onnx": "/home/a.onnx", "encodings": "/home/a.encodings"})
    assert StageCache.compute_key("export", export) == StageCache.compute_key("export", ExportConfig())


# Resuming


def test_a_file_of_the_same_name_in_the_working_directory_does_not_win(recipe, elsewhere):
    ran = started(opened(recipe))
    for pipeline in (opened(recipe), LLMPipeline.load(recipe.parent / "cache")):
        assert pipeline.stages.quantization.recipe == str(recipe.parent / "quantization" / "mine.yaml")
        assert pipeline.stages.quantization.calibration_text == str(recipe.parent / "text.txt")
        assert keys(pipeline) == keys(ran)


def test_a_resumed_run_uses_the_files_that_ran_though_its_recipe_moved(recipe, elsewhere, tmp_path):
    ran = keys(started(opened(recipe)))
    shutil.move(recipe, tmp_path / "moved.yaml")
    assert keys(LLMPipeline.load(recipe.parent / "cache")) == ran


def test_every_file_in_the_kept_recipe_is_absolute(recipe, elsewhere):
    changed(recipe, {"evaluator": {"metrics": [{"name": "perplexity", "dataset": "text.txt"}], "output_dir": "scores"}})
    changed(recipe, {"sdk_root": "sdk"})
    started(opened(recipe))
    kept = Recipe.from_file(recipe.parent / "cache" / "pipeline_state" / "recipe.yaml")
    home = recipe.parent
    for setting, path in {
        "model_id_or_path": home / "model",
        "sdk_root": home / "sdk",
        "stages.quantization.recipe": home / "quantization" / "mine.yaml",
        "stages.quantization.calibration_text": home / "text.txt",
        "evaluator.metrics.0.dataset": home / "text.txt",
        "evaluator.output_dir": home / "scores",
    }.items():
        assert kept.at(setting) == str(path), setting


def test_a_shipped_technique_is_kept_by_its_path(recipe, elsewhere):
    changed(recipe, {"recipe": "minmax.yaml"}, "quantization")
    made = started(opened(recipe))
    assert made.recipe.at("stages.quantization.recipe") == str(shipped_recipes() / "quantization" / "minmax.yaml")


def test_a_default_technique_of_the_users_own_is_kept_too(recipe, elsewhere):
    content = yaml.safe_load(recipe.read_text())
    del content["stages"]["quantization"]["recipe"]
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    shipped = str(shipped_recipes() / "quantization" / "balanced.yaml")
    made = opened(recipe)
    assert made.stages.quantization.recipe == shipped
    assert made.recipe.at("stages.quantization.recipe") is None
    own = recipe.parent / "balanced.yaml"
    own.write_text(TECHNIQUE)
    started(opened(recipe))
    assert LLMPipeline.load(recipe.parent / "cache").stages.quantization.recipe == str(own)


# Each setting, from elsewhere


def test_settings_of_the_whole_recipe_are_beside_it(recipe, elsewhere):
    (recipe.parent / "sdk").mkdir()
    settings = opened(changed(recipe, {"sdk_root": "sdk", "evaluator": {"output_dir": "scores"}})).settings
    assert settings.model_id_or_path == str(recipe.parent / "model")
    assert settings.sdk_root == str(recipe.parent / "sdk")
    assert settings.evaluator.output_dir == str(recipe.parent / "scores")


def test_an_external_graph_is_beside_the_recipe(recipe, elsewhere):
    for folder in (recipe.parent, elsewhere):
        (folder / "a.onnx").write_bytes(b"")
        (folder / "a.encodings").write_text("{}")
    changed(recipe, {"onnx": "a.onnx", "encodings": "a.encodings"}, "export")
    export = opened(recipe).stages.export
    assert (export.onnx, export.encodings) == (recipe.parent / "a.onnx", recipe.parent / "a.encodings")


def test_a_setting_by_coordinate_is_beside_the_recipe(recipe, elsewhere):
    overrides = [{"where": {}, "set": {"calibration_text": "text.txt"}}]
    changed(recipe, {"overrides": overrides}, "quantization")
    assert opened(recipe).stages.quantization.at(()).calibration_text == str(recipe.parent / "text.txt")


@pytest.mark.parametrize("name", ["concurrencies", "use_cases"])
def test_adapters_and_their_texts_are_beside_the_recipe(tmp_path, elsewhere, name):
    path = tmp_path / "lora.yaml"
    (tmp_path / "french").mkdir()
    (tmp_path / "poems.txt").write_text("text")
    group = {"adapters": ["a"], "calibration_dataset": "poems.txt", "lora_scaling": [1.0]}
    content = {
        "adapters": {"a": {"path": "french"}},
        name: {"both": group, "one": group | {"calibration_dataset": "x"}},
    }
    path.write_text(yaml.safe_dump({"lora": content}))
    loaded = Recipe.from_file(path)
    make_files_absolute(loaded, ("lora",), LoRAFeatureConfig)
    lora = LoRAFeatureConfig.model_validate(loaded["lora"])
    assert lora.adapters["a"].path == tmp_path / "french"
    assert lora.concurrencies["both"].calibration_dataset == str(tmp_path / "poems.txt")
    assert lora.concurrencies["one"].calibration_dataset == str(tmp_path / "x")
    missing = loaded.missing_files[f"lora.{name}.one.calibration_dataset"]
    assert missing.what == f"x was not found in {tmp_path}"
    assert [*loaded.missing_files] == [f"lora.{name}.one.calibration_dataset"]


def test_texts_of_metrics_are_beside_the_recipe_and_data_sets_stay(recipe, elsewhere):
    metrics = [{"name": "perplexity", "dataset": name, "display_name": name} for name in ("text.txt", "wikitext")]
    made = opened(changed(recipe, {"evaluator": {"metrics": metrics}}))
    chosen = chosen_metrics(made.recipe, made.settings.evaluator.metrics)
    assert [metric.dataset for metric in chosen] == [str(recipe.parent / "text.txt"), "wikitext"]


def test_values_on_the_command_line_are_in_the_working_directory_first(recipe, elsewhere):
    quantization = opened(
        recipe, "stages.quantization.recipe=mine.yaml", "stages.quantization.calibration_text=text.txt"
    ).stages.quantization
    assert quantization.recipe == str(elsewhere / "mine.yaml")
    assert quantization.calibration_text == str(elsewhere / "text.txt")
    (elsewhere / "text.txt").unlink()
    again = opened(recipe, "stages.quantization.calibration_text=text.txt").stages.quantization
    assert again.calibration_text == str(recipe.parent / "text.txt")
    made = opened(recipe)
    (elsewhere / "other.txt").write_text("text")
    (metric,) = chosen_metrics(made.recipe, [], dataset="other.txt")
    assert metric.dataset == str(elsewhere / "other.txt")


def test_what_a_program_assigns_is_in_its_working_directory_first(recipe, elsewhere):
    made = opened(recipe)
    made.stages.quantization.calibration_text = "text.txt"
    made.stages.quantization.recipe = "lpbq.yaml"
    made.plan()
    assert made.stages.quantization.calibration_text == str(elsewhere / "text.txt")
    assert made.stages.quantization.recipe == str(shipped_recipes() / "quantization" / "lpbq.yaml")


def test_another_model_is_in_the_working_directory_first(recipe, elsewhere):
    shutil.copytree(recipe.parent / "model", elsewhere / "model")
    made = LLMPipeline.from_pretrained("model", recipe, cache_dir=recipe.parent / "cache")
    assert made.settings.model_id_or_path == str(elsewhere / "model")
    assert LLMPipeline.from_pretrained("org/model", recipe).settings.model_id_or_path == "org/model"


def test_a_recipe_in_memory_is_in_the_working_directory(recipe, elsewhere):
    made = LLMPipeline.from_recipe_object(Recipe(yaml.safe_load(recipe.read_text())), cache_dir=recipe.parent / "cache")
    assert made.stages.quantization.recipe == str(elsewhere / "mine.yaml")


# What is shown, and what is missing


def test_names_are_shown_as_they_were_written(recipe, elsewhere):
    from qairt.engine.settings_in_force import recipe_values

    started(opened(recipe))
    shown = {".".join(value.path): value for value in recipe_values(opened(recipe)).walk()}
    assert shown["model_id_or_path"].text == "model"
    assert shown["stages.quantization.recipe"].text == "mine.yaml"
    assert not any(value.differs for value in shown.values())
    plan = opened(recipe).plan()
    quantization = next(stage for stage in plan.stages if stage.stage.name == "quantization")
    assert quantization.details["technique"] == "minmax (mine.yaml)"


def test_a_missing_file_is_named_with_its_line_when_it_is_checked(recipe, elsewhere):
    changed(recipe, {"calibration_text": "gone.txt"}, "quantization")
    line = recipe.read_text().splitlines().index("    calibration_text: gone.txt") + 1
    made = opened(recipe)
    with pytest.raises(RecipeError) as error:
        made.plan()
    assert str(error.value) == (
        f"{recipe}:{line}: stages.quantization.calibration_text: gone.txt was not found in {recipe.parent}\n"
        "  give the path of an existing file"
    )


def test_a_model_that_is_only_in_the_working_directory_is_named_as_the_recipe_must_write_it(recipe, elsewhere):
    shutil.move(recipe.parent / "model", elsewhere / "model")
    with pytest.raises(ModelError) as error:
        opened(recipe).plan()
    assert str(error.value) == (
        f"{recipe}:1: model_id_or_path: model was not found in {recipe.parent}\n"
        "  it is in the working directory, but a path is relative to the recipe's file: write ../elsewhere/model"
    )


def test_a_missing_text_of_a_metric_is_named_with_its_line(recipe, elsewhere):
    changed(recipe, {"evaluator": {"metrics": [{"name": "perplexity", "dataset": "gone.txt"}]}})
    line = recipe.read_text().splitlines().index("    dataset: gone.txt") + 1
    made = opened(recipe)
    made.plan()
    with pytest.raises(RecipeError) as error:
        chosen_metrics(made.recipe, made.settings.evaluator.metrics)
    assert str(error.value) == (
        f"{recipe}:{line}: evaluator.metrics.0.dataset: gone.txt was not found in {recipe.parent}\n"
        "  give the path of an existing file, or an id on the Hugging Face hub"
    )
    chosen_metrics(made.recipe, made.settings.evaluator.metrics, dataset="text.txt")


def test_marked_settings_are_found_at_any_depth(tmp_path, elsewhere):
    class Inner(BaseModel):
        file: Annotated[str | None, RecipeFile()] = None

    class Outer(BaseModel):
        one: Inner | None = None
        several: list[Inner] = []
        by_name: dict[str, Inner] = {}
        plain: list[Annotated[str, RecipeFile()]] = []

    (tmp_path / "a.txt").write_text("a")
    path = tmp_path / "r.yaml"
    inner = {"file": "a.txt"}
    path.write_text(yaml.safe_dump({"one": inner, "several": [inner, {}], "by_name": {"x": inner}}))
    loaded = Recipe.from_file(path)
    make_files_absolute(loaded, (), Outer)
    found = {"file": str(tmp_path / "a.txt")}
    assert loaded == {"one": found, "several": [found, {}], "by_name": {"x": found}}
    assert loaded.as_written(("one", "file"), found["file"]) == "a.txt"
