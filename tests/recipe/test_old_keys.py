"""Old keys, for one release: one table, the new key takes precedence, one notice names all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_stages as toy
import yaml
from toy_outputs import Speaker

import qairt.stages  # noqa: F401 - registers the stages
from qairt.engine import stage as stage_module
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe
from qairt.recipe.old_keys import apply_old_keys

STAGE = "stages.torch_profiler.output"


class Profiler(Speaker):
    name = "torch_profiler"


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {stage.name: stage for stage in (toy.Source, Profiler)}
    monkeypatch.setattr(stage_module, "_registry", {**stage_module.registered_stages(), **known})


def recipe(folder: Path, top: dict, output: dict | None = None, *, stage: bool = True) -> Path:
    stages = {"source": {}, **({"torch_profiler": {"output": output} if output else {}} if stage else {})}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model_id_or_path": "org/Toy-1B", **top, "stages": stages}, sort_keys=False))
    return path


def opened(path: Path, *words: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(path, words, cache_dir=path.parent / "cache")


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("outputs.save_predictions", True, "prediction.enable"),
        ("outputs.visualization.enable", False, "visualization.enable"),
        ("outputs.visualization.save_dir", "v", "visualization.save_dir"),
        ("outputs.predictions.save_dir", "p", "prediction.save_dir"),
        ("outputs.predictions.strip_special_tokens", True, "extra.toy_1b.prediction.strip_special_tokens"),
        ("outputs.visualization.max_images", 3, "extra.toy_1b.visualization.max_images"),
        ("outputs.visualization.thumbnail_width", 99, "extra.toy_1b.visualization.thumbnail_width"),
        ("output.prediction.enable", True, "prediction.enable"),
        ("output.visualization.save_dir", "v", "visualization.save_dir"),
        ("output.extra.toy.visualization.max_images", 2, "extra.toy.visualization.max_images"),
        ("pipeline.torch_profiler.output.prediction.enable", True, "prediction.enable"),
    ],
)
@pytest.mark.parametrize("how", ["file", "command line"])
def test_each_old_key_moves(tmp_path, old, value, new, how):
    nested: object = value
    for step in reversed(old.split(".")):
        nested = {step: nested}
    path = recipe(tmp_path, nested if how == "file" else {})
    made = opened(path, *([f"{old}={value}".lower()] if how == "command line" else []))
    held = made.recipe.at(f"{STAGE}.{new}")
    assert held == value
    config = made.stages.torch_profiler.output.model_dump()
    for step in new.split("."):
        config = config[step]
    assert config == value
    assert set(made.recipe) == {"model_id_or_path", "stages"}
    (info,) = made.notices
    where = "command line" if how == "command line" else f"{path}:{2 + old.count('.')}"
    assert f"{old} ({where}) is now {STAGE}.{new}" in info
    assert f"qairt migrate {path}" in info
    assert made.recipe.where(f"{STAGE}.{new}") == where


def test_the_new_key_takes_precedence_even_when_it_is_false(tmp_path):
    path = recipe(tmp_path, {"outputs": {"save_predictions": True}}, {"prediction": {"enable": False}})
    made = opened(path)
    assert made.stages.torch_profiler.output.prediction.enable is False
    (info,) = made.notices
    assert f"outputs.save_predictions ({path}:3) is now {STAGE}.prediction.enable" in info
    assert info.endswith(f", which is set to false ({path}:9): true is ignored")


def test_also_against_the_command_line(tmp_path):
    path = recipe(tmp_path, {}, {"prediction": {"enable": False}})
    made = opened(path, "outputs.save_predictions=true")
    assert made.stages.torch_profiler.output.prediction.enable is False
    assert "(command line) is now" in made.notices[0]
    assert made.notices[0].endswith(f", which is set to false ({path}:7): true is ignored")


def test_of_two_old_keys_the_newer_takes_precedence(tmp_path):
    made = opened(
        recipe(tmp_path, {"outputs": {"save_predictions": False}, "output": {"prediction": {"enable": True}}})
    )
    assert made.stages.torch_profiler.output.prediction.enable is True
    assert "which is set to true (" in made.notices[0]
    assert made.notices[0].endswith("): false is ignored")


def test_equal_values_are_not_reported_as_ignored(tmp_path):
    path = recipe(tmp_path, {"outputs": {"save_predictions": True}}, {"prediction": {"enable": True}})
    assert "which is set to" not in opened(path).notices[0]


def test_without_that_stage_they_are_reported_to_have_no_effect(tmp_path):
    made = opened(recipe(tmp_path, {"outputs": {"save_predictions": True}}, stage=False))
    assert made.stage_names() == ["source"]
    assert made.notices[0].endswith("and has no effect: the recipe has no stage torch_profiler")


def test_a_whole_recipe_under_the_old_prefix_keeps_its_order(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("pipeline:\n  source: {text: hey}\n  torch_profiler: {}\n")
    made = opened(path)
    assert made.stage_names() == ["source", "torch_profiler"]
    assert made.stages.source.text == "hey"


def test_applied_once(tmp_path):
    loaded = Recipe.from_file(recipe(tmp_path, {"outputs": {"save_predictions": True}}))
    assert len(apply_old_keys(loaded)) == 1
    assert apply_old_keys(loaded) == []


def test_a_recipe_without_old_keys_has_no_notice(tmp_path):
    assert opened(recipe(tmp_path, {})).notices == []


def test_an_unknown_old_key_is_reported_with_its_line(tmp_path):
    path = recipe(tmp_path, {"outputs": {"save_prediction": True}})
    with pytest.raises(RecipeError, match=rf"{path}:3: {STAGE}.save_prediction is not a setting of output"):
        opened(path)


def test_one_notice_per_run_and_outputs_in_their_folders(tmp_path):
    path = recipe(tmp_path, {"outputs": {"save_predictions": True, "visualization": {"enable": False}}})
    seen: list[tuple[str, str]] = []
    made = opened(path)
    made.add_listener(
        lambda event: seen.append((event.level, event.message)) if isinstance(event, ev.LogLine) else None
    )
    assert made.construct(RunOptions(executor="inline", memory=10**9)).status == "done"
    assert [level for level, _ in seen] == ["info"]
    assert "outputs.save_predictions" in seen[0][1]
    assert "outputs.visualization.enable" in seen[0][1]
    left = sorted(file.name for file in (tmp_path / "cache").glob("*/*/*") if file.parent.name in ("pred", "viz"))
    assert left == ["predictions.jsonl"]
    kept = Recipe.from_file(tmp_path / "cache/pipeline_state/recipe.yaml")
    assert "outputs" not in kept
    assert LLMPipeline.load(tmp_path / "cache").notices == []
