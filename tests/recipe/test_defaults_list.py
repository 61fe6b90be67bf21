"""`defaults:` mounts files of settings at places of a recipe, as Hydra does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qairt.errors import RecipeError
from qairt.llm import LLMPipeline

OUTPUT = "output/torch@pipeline.torch_profiler.output: default"


def opened(folder: Path, *entries: str, own: dict | None = None, words: tuple[str, ...] = ()) -> LLMPipeline:
    stages = {"model_loading": {}, "torch_profiler": own or {}}
    text = yaml.safe_dump({"model_id_or_path": "org/Toy-1B", "stages": stages}, sort_keys=False)
    path = folder / "r.yaml"
    path.write_text("defaults:\n" + "".join(f"  - {entry}\n" for entry in entries) + text)
    return LLMPipeline.from_recipe(path, words, cache_dir=folder / "cache")


def preset(folder: Path, name: str, values: dict) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_entries_of_seed_003(tmp_path):
    made = opened(
        tmp_path,
        OUTPUT,
        "model/deepseek_ocr/output/torch@pipeline.torch_profiler.output.extra.deepseek_ocr: default",
        "_self_",
    )
    output = made.stages.torch_profiler.output
    assert (output.prediction.enable, output.prediction.save_dir) == (False, "pred")
    assert (output.visualization.enable, output.visualization.save_dir) == (None, "viz")
    extra = output.extra["deepseek_ocr"]
    assert extra.prediction.strip_special_tokens is False
    assert (extra.visualization.max_images, extra.visualization.thumbnail_width) == (16, 480)
    assert "defaults" not in made.recipe


def test_the_recipe_has_the_place_of_self_and_the_command_line_the_last(tmp_path):
    mine = preset(tmp_path, "mine/a.yaml", {"max_new_tokens": 3, "repeats": 4, "warmup": 5})
    entry = "mine@stages.torch_profiler: a"
    own = {"max_new_tokens": 7}
    after = opened(tmp_path, entry, own=own)
    assert (after.stages.torch_profiler.max_new_tokens, after.stages.torch_profiler.repeats) == (7, 4)
    assert after.recipe.preset_origin(("stages", "torch_profiler", "repeats")) == f"{mine}:2"
    before = opened(tmp_path, "_self_", entry, own=own, words=("stages.torch_profiler.warmup=9",))
    config = before.stages.torch_profiler
    assert (config.max_new_tokens, config.repeats, config.warmup) == (3, 4, 9)
    assert before.recipe.where("stages.torch_profiler.max_new_tokens") == f"{mine}:1"


def test_later_entries_override_earlier_ones(tmp_path):
    preset(tmp_path, "mine/a.yaml", {"repeats": 4, "warmup": 5})
    preset(tmp_path, "mine/b.yaml", {"repeats": 6})
    entries = ["mine@stages.torch_profiler: a", "mine@stages.torch_profiler: b", "mine@stages.torch_profiler: null"]
    for order in (entries, ["_self_", *entries]):
        config = opened(tmp_path, *order).stages.torch_profiler
        assert (config.repeats, config.warmup) == (6, 5)


def test_a_wrong_setting_is_reported_where_it_is_written(tmp_path):
    mine = preset(tmp_path, "mine/a.yaml", {"repeats": 4, "warm_up": 5})
    with pytest.raises(RecipeError) as error:
        opened(tmp_path, "mine@stages.torch_profiler: a")
    assert str(error.value) == (
        f"{mine}:2: stages.torch_profiler.warm_up is not a setting of torch_profiler\n  did you mean warmup?"
    )


FORM = "write GROUP@PLACE: NAME, such as output/torch@pipeline.torch_profiler.output: default"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("output/torch: default", f"output/torch names no place inside a stage\n  {FORM}"),
        ("output/torch@verify: default", f"output/torch@verify names no place inside a stage\n  {FORM}"),
        ("null", f"null is not an entry of defaults\n  {FORM}"),
        ("base", f"'base' is not an entry of defaults\n  {FORM}"),
        (
            "output/torc@pipeline.torch_profiler.output: default",
            "there is no output/torc.default.yaml\n  did you mean torch.default.yaml?",
        ),
        (
            "output/torch@pipeline.torch_profiler.output: verbose",
            "there is no output/torch.verbose.yaml\n  did you mean torch.default.yaml?",
        ),
        ("own/thing@stages.torch_profiler: x", "there is no own/thing.x.yaml\n  put it beside the recipe"),
    ],
)
def test_an_entry_that_cannot_be_mounted_is_named_with_its_line(tmp_path, entry, message):
    with pytest.raises(RecipeError) as error:
        opened(tmp_path, entry)
    assert str(error.value) == f"{tmp_path}/r.yaml:2: {message}"


def test_an_entry_for_a_stage_that_the_recipe_does_not_have(tmp_path):
    made = opened(tmp_path, "output/torch@pipeline.nsys.output: default")
    assert made.warnings == [f"{tmp_path}/r.yaml:2: defaults has no effect: the recipe has no stage nsys"]


def test_defaults_must_be_a_list(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("defaults: 3\nstages: {model_loading: {}}\n")
    with pytest.raises(RecipeError, match="r.yaml:1: defaults must be a list"):
        LLMPipeline.from_recipe(path)


def test_a_preset_is_mounted_where_the_stage_can_obey_it(tmp_path):
    """It enables predictions for every stage; only those that write some take that over."""
    preset(tmp_path, "output/torch.default.yaml", {"prediction": {"enable": True}, "visualization": {"enable": False}})
    made = opened(tmp_path, "_self_")
    assert made.stages.torch_profiler.output.prediction.enable is True
    assert made.stages.model_loading.output.prediction.enable is False
    assert made.stages.model_loading.output.visualization.enable is False
