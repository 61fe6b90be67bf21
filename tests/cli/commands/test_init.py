"""`qairt init`, `qairt recipes` and `qairt schema`: where a recipe begins."""

from __future__ import annotations

import jsonschema
import pytest
import yaml
from tiny_recipe import write_model

from qairt.cli.commands.init import recipe_text, splits_for
from qairt.cli.commands.schema import recipe_schema
from qairt.recipe import Recipe
from qairt.recipe.find import shipped_by_name


@pytest.fixture
def model(place):
    return write_model(place / "tiny-llama")


def test_the_written_recipe_passes_check_and_has_comments(qairt, model, place):
    said = qairt("init", "tiny-llama")
    assert said.code == 0
    assert said.out.endswith("\nNext: qairt run tiny-llama.yaml\n")
    text = (place / "tiny-llama.yaml").read_text()
    assert 'soc_details: "chipset:SM8650"       # the chip; `qairt check` lists its limits\n' in text
    assert max(map(len, text.splitlines())) <= 120
    assert qairt("check", "tiny-llama.yaml").code == 0


@pytest.mark.parametrize(("width", "technique"), [(128, "balanced.yaml"), (96, "balanced.yaml"), (80, "minmax.yaml")])
def test_blocks_that_do_not_fit_a_model_give_it_8_bits(qairt, place, width, technique):
    write_model(place / "model", intermediate_size=width)
    assert qairt("init", "model").code == 0
    stages = yaml.safe_load((place / "model.yaml").read_text())["stages"]
    assert stages["quantization"]["recipe"] == technique


def test_the_model_is_found_from_anywhere(qairt, model, place, monkeypatch):
    assert qairt("init", "tiny-llama", "-o", "recipes/my own.yaml").out.endswith(
        "\nNext: qairt run 'recipes/my own.yaml'\n"
    )
    written = place / "recipes" / "my own.yaml"
    assert yaml.safe_load(written.read_text())["model_id_or_path"] == str(place / "tiny-llama")
    assert qairt("init", "tiny-llama", "-o", "beside.yaml").code == 0
    assert yaml.safe_load((place / "beside.yaml").read_text())["model_id_or_path"] == "tiny-llama"
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert qairt("check", str(written)).code == 0
    assert qairt("check", "../beside.yaml").code == 0


def test_the_only_model_here_need_not_be_named(qairt, model, place):
    assert qairt("init", "-o", "mine.yaml").code == 0
    assert yaml.safe_load((place / "mine.yaml").read_text())["model_id_or_path"] == "tiny-llama"
    (place / "models").mkdir()
    (place / "models" / "other.gguf").touch()
    said = qairt("init", "-o", "mine.yaml", "--force")
    assert (said.code, said.err) == (
        2,
        "Error: no model was given, and there are several here\n  give one of tiny-llama, models/other.gguf\n",
    )


def test_without_a_model_it_says_what_to_give(qairt):
    assert qairt("init").err == (
        "Error: no model was given, and there is none in this folder or in models/\n"
        "  give a Hugging Face folder, a GGUF file, or an id such as Qwen/Qwen3-0.6B\n"
    )


def test_backend_cpu_leaves_the_npu_stages_out(qairt, model, place):
    qairt("init", "tiny-llama", "--backend", "CPU", "-o", "cpu.yaml")
    stages = yaml.safe_load((place / "cpu.yaml").read_text())["stages"]
    assert "convert" not in stages
    assert "quantize" in stages
    assert qairt("check", "cpu.yaml").code == 0


def test_a_model_that_no_bundle_can_hold_gets_a_recipe_that_passes_check(qairt, place):
    write_model(place / "gemma", "gemma3_text", sliding_window=8)
    assert qairt("init", "gemma").code == 0
    text = (place / "gemma.yaml").read_text()
    assert text.endswith(
        "  generate_context_binary: {}\n"
        "# No export_bundle: Genie computes one rotary embedding, and the model's windowed layers have one of their "
        "own.\n"
    )
    assert "context_length: 64              # tokens of prompt and answer together\n" in text
    assert qairt("check", "gemma.yaml").code == 0


@pytest.mark.parametrize("backend", ["HTP", "CPU"])
def test_a_model_with_short_convolutions_gets_a_recipe_that_passes_check(qairt, place, backend):
    write_model(place / "lfm2", "lfm2", layer_types=["conv", "full_attention"])
    assert qairt("init", "lfm2", "--backend", backend).code == 0
    assert "# No export_bundle: " in (place / "lfm2.yaml").read_text()
    assert qairt("check", "lfm2.yaml").code == 0


def test_the_context_of_a_model_with_windows_fits_a_bundle(qairt, place):
    write_model(place / "gemma", "gemma2", sliding_window=8)
    assert qairt("init", "gemma").code == 0
    limit = "tokens of prompt and answer together; in a bundle, at most the attention window\n"
    assert f"context_length: 8               # {limit}" in (place / "gemma.yaml").read_text()
    assert qairt("check", "gemma.yaml").code == 0


def test_it_overwrites_nothing_without_force(qairt, model, place):
    (place / "mine.yaml").write_text("precious")
    said = qairt("init", "tiny-llama", "-o", "mine.yaml")
    assert (said.code, said.err) == (
        1,
        "Error: mine.yaml: the file exists\n  give another name with -o, or --force\n",
    )
    assert (place / "mine.yaml").read_text() == "precious"
    assert qairt("init", "tiny-llama", "-o", "mine.yaml", "--force").code == 0


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (["nowhere.gguf"], 2, "no such model"),
        (["tiny-llama", "--soc", "SM1"], 2, "unknown chip 'SM1'"),
        (["tiny-llama", "--soc", "SM8350"], 2, "cannot share weights between graphs"),
        (["tiny-llama", "-o", "recipe.txt"], 2, "recipe.txt: a recipe is a .yaml file"),
    ],
)
def test_what_it_refuses(qairt, model, place, words, code, err):
    said = qairt("init", *words)
    assert said.code == code
    assert err in said.err
    assert list(place.glob("*.yaml")) == [place / "toy.yaml"]


def test_a_path_that_yaml_would_misread_is_quoted(model):
    from qairt.model.describe import describe_model

    text = recipe_text("a: b # c", describe_model(model), soc="SM8650", backend="HTP")
    assert yaml.safe_load(text)["model_id_or_path"] == "a: b # c"


def test_parts_are_bounded_by_layers(model):
    from qairt.model.describe import describe_model

    assert splits_for(describe_model(model)) == 3  # the embedding and two layers


def test_recipes_are_listed_and_printed(qairt):
    said = qairt("recipes")
    assert said.out.startswith("recipe        what it does\nsmollm2-135m  SmolLM2-135M-Instruct from a GGUF file")
    assert "minmax.yaml" in said.out
    assert yaml.safe_load(qairt("recipes", "smollm2-135m").out)["backend"] == "HTP"
    assert yaml.safe_load(qairt("recipes", "minmax.yaml").out)["technique"] == "minmax"
    data = qairt("recipes", "--json").data
    assert [recipe["name"] for recipe in data["recipes"]] == list(shipped_by_name())
    assert qairt("recipes", "nope").code == 2


def test_every_shipped_recipe_fits_the_schema(qairt):
    schema = qairt("schema").data
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in shipped_by_name().values():
        Recipe.from_file(path).validate(schema)


def test_the_schema_knows_every_stage_and_explains_its_settings():
    schema = recipe_schema()
    from qairt.engine.stage import registered_stages

    stages = schema["properties"]["stages"]["properties"]
    assert list(stages) == list(registered_stages())
    config = stages["split_model"]
    described = config["properties"]["num_splits"]["description"]
    assert described.startswith("Number of parts, including the embedding (part 1); at most two for a layer")
    assert "overrides" in config["properties"]
    with pytest.raises(ValueError, match="num_split is not a setting of split_model"):
        Recipe({"stages": {"split_model": {"num_split": 3}}}).validate(schema)
