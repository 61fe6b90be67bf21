"""Output presets: general, of the model, the recipe, the command line; each overrides those before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy_stages as toy
import yaml
from toy_outputs import Speaker

import qairt.stages  # noqa: F401 - registers the stages
from qairt.cli.main import main
from qairt.engine import stage as stage_module
from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe
from qairt.recipe.files import shipped_recipes
from qairt.recipe.output_settings import is_model, model_name

INLINE = RunOptions(executor="inline", memory=10**9)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {stage.name: stage for stage in (toy.Source, Speaker)}
    monkeypatch.setattr(stage_module, "_registry", {**stage_module.registered_stages(), **known})


def recipe(folder: Path, output: dict | None = None, model: str = "org/Toy-1B") -> Path:
    path = folder / "recipe.yaml"
    stages = {"source": {}, "speaker": {"output": output} if output else {}}
    path.write_text(yaml.safe_dump({"model_id_or_path": model, "stages": stages}, sort_keys=False))
    return path


def preset(folder: Path, place: str, content: dict) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def opened(path: Path, *words: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(path, words, cache_dir=path.parent / "cache")


def test_each_layer_overrides_the_one_before(tmp_path):
    preset(tmp_path, "output/torch.default.yaml", {"prediction": {"enable": True, "save_dir": "general"}})
    mine = {"visualization": {"max_images": 3, "thumbnail_width": 30}, "prediction": {"strip_special_tokens": True}}
    preset(tmp_path, "model/toy/output/torch.default.yaml", mine)
    path = recipe(tmp_path, {"prediction": {"save_dir": "own"}, "extra": {"toy": {"visualization": {"max_images": 2}}}})
    made = opened(path, "stages.speaker.output.extra.toy.visualization.thumbnail_width=10")
    output = made.stages.speaker.output
    assert (output.prediction.enable, output.prediction.save_dir) == (True, "own")
    extra = output.extra["toy"]
    assert extra.prediction.strip_special_tokens is True
    assert (extra.visualization.max_images, extra.visualization.thumbnail_width) == (2, 10)
    assert (
        opened(path, "stages.speaker.output.prediction.save_dir=cli").stages.speaker.output.prediction.save_dir == "cli"
    )


def test_presets_have_their_effect_on_disk(tmp_path):
    preset(tmp_path, "output/torch.default.yaml", {"prediction": {"enable": True, "save_dir": "said"}})
    preset(tmp_path, "model/toy/output/torch.default.yaml", {"prediction": {"strip_special_tokens": True}})
    path = recipe(tmp_path)
    Path(path).write_text(path.read_text().replace("source: {}", "source: {output: {prediction: {enable: false}}}"))
    opened(path).construct(INLINE)
    said = json.loads((tmp_path / "cache/speaker/said/predictions.jsonl").read_text())
    assert said["text_clean"] == "hello hi"


def test_another_models_preset_is_not_used(tmp_path):
    preset(tmp_path, "model/other/output/torch.default.yaml", {"visualization": {"max_images": 3}})
    assert opened(recipe(tmp_path)).stages.speaker.output.extra == {}


def test_the_shipped_ones_are_the_defaults_and_valid(tmp_path):
    output = opened(recipe(tmp_path)).stages.speaker.output
    assert (output.prediction.enable, output.prediction.save_dir) == (False, "pred")
    assert (output.visualization.enable, output.visualization.save_dir) == (None, "viz")
    extra = opened(recipe(tmp_path, model="HuggingFaceTB/SmolLM2-135M-Instruct")).stages.speaker.output.extra
    assert extra["smollm2"].prediction.strip_special_tokens is True


def test_one_by_another_name(tmp_path):
    preset(tmp_path, "output/quiet.yaml", {"visualization": {"enable": False}})
    path = recipe(tmp_path, {"preset": "quiet"})
    assert opened(path).stages.speaker.output.visualization.enable is False
    opened(path).construct(INLINE)
    assert not (tmp_path / "cache/speaker").exists()


def test_the_kept_recipe_means_the_same_from_anywhere(tmp_path):
    preset(tmp_path, "output/quiet.yaml", {"visualization": {"enable": False}})
    preset(tmp_path, "model/toy/output/quiet.yaml", {"visualization": {"max_images": 7}})
    opened(recipe(tmp_path, {"preset": "quiet"})).construct(INLINE)
    (tmp_path / "output/quiet.yaml").unlink()
    again = LLMPipeline.load(tmp_path / "cache").stages.speaker.output
    assert again.visualization.enable is False
    assert again.of_model("toy_1b").visualization.max_images == 7


def test_a_preset_that_does_not_exist_is_named_with_its_line(tmp_path):
    path = recipe(tmp_path, {"preset": "torch.defualt"})
    with pytest.raises(RecipeError) as error:
        opened(path)
    assert str(error.value) == (f"{path}:6: there is no output preset torch.defualt\n  did you mean torch.default?")
    with pytest.raises(
        RecipeError, match="command line: there is no output preset nothing\n  the presets are torch.default"
    ):
        opened(recipe(tmp_path), "stages.speaker.output.preset=nothing")


@pytest.mark.parametrize("name", ["../x", "a/b", "*", ""])
def test_a_preset_is_a_name_not_a_path(tmp_path, name):
    with pytest.raises(RecipeError, match="there is no output preset"):
        opened(recipe(tmp_path, {"preset": name}))


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (
            "output/torch.default.yaml",
            {"prediction": {"enabled": True}},
            "prediction.enabled is not a setting of prediction",
        ),
        ("model/toy/output/torch.default.yaml", {"visualization": {"max_image": 1}}, "did you mean max_images"),
        ("output/torch.default.yaml", {"prediction": {"save_dir": "../x"}}, "is outside the stage's output directory"),
    ],
)
def test_a_wrong_preset_is_named_with_its_own_line(tmp_path, place, content, message):
    path = preset(tmp_path, place, content)
    with pytest.raises(RecipeError, match=rf"{path}:2: [^\0]*{message}"):
        opened(recipe(tmp_path))


def test_settings_of_a_model_that_the_recipe_does_not_run_are_named(tmp_path):
    path = recipe(tmp_path, {"extra": {"tooy": {"visualization": {"max_images": 1}}}})
    assert opened(path).warnings == [
        f"{path}:7: stages.speaker.output.extra.tooy has no effect: this recipe runs toy_1b; did you mean toy?"
    ]
    with pytest.raises(RecipeError, match=rf"{path}:8: stages.speaker.output.extra.toy.predict is not a setting"):
        opened(recipe(tmp_path, {"extra": {"toy": {"predict": {}}}}))


def test_wrong_values_are_named_with_their_line(tmp_path):
    path = recipe(tmp_path, {"prediction": {"save_dir": "../../x"}})
    with pytest.raises(
        RecipeError, match=rf"{path}:7: stages.speaker.output.prediction.save_dir: \.\./\.\./x is outside"
    ):
        opened(path)
    path = recipe(tmp_path, {"visualization": {"save_dir": str(tmp_path / "cache/pipeline_state/x")}})
    with pytest.raises(
        RecipeError,
        match=rf"{path}:7: stages.speaker.output.visualization.save_dir: .* is inside the cache's own folder",
    ):
        opened(path).plan()
    with pytest.raises(RecipeError, match="command line: stages.source.output.prediction.enable: source writes no"):
        opened(recipe(tmp_path), "stages.source.output.prediction.enable=true").plan()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2_135m_instruct"),
        ("../.demo/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2_135m_instruct_q4_1"),
        ("deepseek-ai/DeepSeek-OCR", "deepseek_ocr"),
        ("/models/phi-4/", "phi_4"),
        (None, ""),
    ],
)
def test_what_a_model_is_called(given, name):
    assert model_name(given) == name


def test_which_names_match_a_model():
    assert is_model("smollm2_135m_instruct", "smollm2")
    assert is_model("deepseek_ocr", "deepseek_ocr")
    assert not is_model("smollm2_135m", "smollm")
    assert not is_model("", "smollm")


# Showing it


def test_show_config_says_where_each_value_comes_from(tmp_path, capsys):
    mine = preset(tmp_path, "model/toy/output/torch.default.yaml", {"visualization": {"max_images": 3}})
    path = recipe(tmp_path, {"prediction": {"enable": True}})
    words = ["plan", str(path), "stages.source.text=hi there", "--show-config"]
    assert main(words) == 0
    out = capsys.readouterr().out
    said = {line.partition("#")[0].strip(): line.partition("#")[2].strip() for line in out.splitlines() if "#" in line}
    assert said["text: hi there"] == "command line"
    assert said["enable: true"] == f"{path}:7" or said["enable: true"].startswith("preset ")
    assert said["max_images: 3"] == f"preset {mine}:2"
    assert said["thumbnail_width: 480"] == "default"
    assert said["save_dir: pred"] == f"preset {shipped_recipes()}/output/torch.default.yaml:4"
    assert said["backend: HTP"] == "default"
    merged = yaml.safe_load(out)
    assert merged["stages"]["speaker"]["output"]["prediction"] == {"enable": True, "save_dir": "pred"}
    assert merged["stages"]["source"]["output"]["extra"]["toy"]["visualization"]["max_images"] == 3
    assert not (tmp_path / "qairt-cache").exists()
    assert main([*words, "--json"]) == 0
    data = {value["path"]: value for value in json.loads(capsys.readouterr().out)}
    enable = data["stages.speaker.output.prediction.enable"]
    assert (enable["value"], enable["source"], enable["where"]) == ("true", "file", f"{path}:7")
    assert data["stages.speaker.output.visualization.enable"]["source"] == "preset"
    assert data["stages.source.output.prediction.enable"]["source"] == "default"  # it writes none
    assert data["stages.source.text"]["source"] == "command line"
    (tmp_path / "again.yaml").write_text(out)
    shown = LLMPipeline.from_recipe(tmp_path / "again.yaml", cache_dir=tmp_path / "cache")
    assert shown.stages.speaker.output == opened(path).stages.speaker.output


def test_a_preset_under_a_written_group_is_still_a_preset(tmp_path):
    loaded = Recipe.from_file(recipe(tmp_path, {"visualization": {"enable": False}}))
    LLMPipeline.from_recipe_object(loaded, cache_dir=tmp_path / "cache")
    assert loaded.preset_origin(("stages", "speaker", "output", "visualization", "enable")) is None
    where = loaded.preset_origin(("stages", "speaker", "output", "visualization", "save_dir"))
    assert where == f"{shipped_recipes()}/output/torch.default.yaml:7"


@pytest.mark.parametrize(
    "word",
    ["stages.speaker.output.prediction.enable=true", "stages.speaker={output: {prediction: {enable: true}}}"],
)
def test_the_command_line_is_the_origin_of_what_it_sets_and_nothing_else(tmp_path, word, capsys):
    path = recipe(tmp_path)
    assert main(["plan", str(path), word, "--show-config", "--json"]) == 0
    said = {value["path"]: value["source"] for value in json.loads(capsys.readouterr().out)}
    under = "stages.speaker.output"
    assert said[f"{under}.prediction.enable"] == "command line"
    assert said[f"{under}.prediction.save_dir"] == "preset"
    assert said[f"{under}.visualization.enable"] == "preset"
