"""Keys of the vendor's documentation load in any recipe, and do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe

TOP = """\
model_id_or_path: org/model
stages: {model_loading: {}}
"""


def opened(folder: Path, text: str, *words: str) -> LLMPipeline:
    path = folder / "r.yaml"
    path.write_text(TOP + text)
    return LLMPipeline.from_recipe(path, words, cache_dir=folder / "cache")


def test_documented_names_are_other_names_of_ours(tmp_path):
    (tmp_path / "adapter").mkdir()
    made = opened(
        tmp_path,
        "generator_config: {sequence_length: 8, context_length: 64}\n"
        "evaluator_config:\n  context_length: 32\n  metrics:\n    - {name: perplexity, display_name: PPL}\n"
        "features:\n  lora:\n    adapters: {french: {path: adapter}}\n    quant_updatable_mode: none\n"
        "exporter_config: {args: {opset_version: 17}}\n"
        "log_level: DEBUG\nenable_observers: false\n",
    )
    settings = made.settings
    assert (settings.generator.sequence_length, settings.generator.context_length) == (8, 64)
    assert settings.evaluator.context_length == 32
    assert settings.evaluator.metrics == [{"name": "perplexity", "display_name": "PPL"}]
    assert settings.lora.adapters["french"].path == tmp_path / "adapter"
    assert settings.lora.quant_updatable_mode == "none"
    assert (settings.log_level, settings.enable_observers) == ("debug", False)
    assert made.warnings == [
        f"{tmp_path}/r.yaml:12: exporter_config.args.opset_version has no effect: qairt writes the ONNX graphs itself,"
        " without torch's exporter",
        f"{tmp_path}/r.yaml:10: the LoRA adapter french is in none of lora.concurrencies: it is not used",
    ]
    assert made.recipe.where("evaluator.metrics.0.name") == f"{tmp_path}/r.yaml:7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "generator: {context_length: 2}\ngenerator_config: {context_length: 3}\n",
            "r.yaml:4: generator_config.context_length is another name of generator.context_length, which is set too"
            " (r.yaml:3)\n  remove one of them",
        ),
        ("features: {loras: {}}\n", "r.yaml:3: features.loras is not a setting of features\n  did you mean lora?"),
        (
            "checkpoint: model_loding\n",
            "r.yaml:3: checkpoint: the recipe has no stage model_loding\n  did you mean model_loading?",
        ),
        ("features: [lora]\n", "r.yaml:3: features must be a mapping\n  write features: {lora: {…}}, or remove it"),
        (
            "exporter_config: {arguments: {}}\n",
            "r.yaml:3: exporter_config.arguments is not a setting of exporter_config\n  did you mean args?",
        ),
        (
            "generator_config: {sequence_lenght: 3}\n",
            "r.yaml:3: generator.sequence_lenght is not a setting of generator\n  did you mean sequence_length?",
        ),
        (
            "log_level: loud\n",
            "r.yaml:3: log_level: input should be 'trace', 'debug', 'info', 'warning' or 'error', not 'loud'\n"
            "  change its value",
        ),
        ("backend: NPU\n", "r.yaml:3: backend: input should be 'HTP' or 'CPU', not 'NPU'\n  use HTP or CPU"),
        (
            "num_splits: 3\n",
            "r.yaml:3: num_splits is not a setting of a recipe\n  did you mean stages.split_model.num_splits?",
        ),
        (
            "act_bitwidth: 8\n",
            "r.yaml:3: act_bitwidth is not a setting of a recipe\n"
            "  did you mean stages.quantization.act_bitwidth or stages.quantize.act_bitwidth?",
        ),
    ],
)
def test_faults_name_the_line_and_the_right_place(tmp_path, text, message):
    with pytest.raises(RecipeError) as error:
        opened(tmp_path, text)
    assert str(error.value).replace(f"{tmp_path}/", "") == message


@pytest.mark.parametrize("spelling", ["CPU", "cpu", "Cpu"])
def test_a_backend_in_any_case(tmp_path, spelling):
    assert opened(tmp_path, f"backend: {spelling}\n").settings.backend == "CPU"


def test_the_command_line_sets_a_setting_under_either_name(tmp_path):
    text = "generator: {context_length: 2}\n"
    assert opened(tmp_path, text, "generator_config.context_length=3").settings.generator.context_length == 3
    text = "generator_config: {context_length: 2}\n"
    assert opened(tmp_path, text, "generator.context_length=3").settings.generator.context_length == 3


@pytest.mark.parametrize("given", ["model_loading", "model_loader"])
def test_a_checkpoint_by_the_name_of_its_stage(tmp_path, given):
    made = opened(tmp_path, f"checkpoint: {given}\n")
    assert made.stages.model_loading.checkpoint is True
    assert made.recipe.where("stages.model_loading.checkpoint") == f"{tmp_path}/r.yaml:3"
    assert opened(tmp_path, "checkpoint: true\n").settings.checkpoint is True


def test_an_empty_documented_key_is_no_setting(tmp_path):
    assert opened(tmp_path, "generator_config:\nfeatures:\nexporter_config:\n").warnings == []


def test_log_level_chooses_the_messages_of_a_run(tmp_path):
    shown = {}
    for level in ("trace", "debug", "info", "warning", "error"):
        path = write_recipe(tmp_path / level, backend="CPU")
        path.write_text(path.read_text() + f"log_level: {level}\nexporter_config: {{args: {{a: 1}}}}\noutput: {{}}\n")
        made = LLMPipeline.from_recipe(path, cache_dir=tmp_path / level / "cache")
        seen: list[str] = []
        made.add_listener(lambda event, seen=seen: seen.append(getattr(event, "level", "")))
        made.construct(RunOptions(executor="inline", until="model_loading"))
        shown[level] = {level for level in seen if level}
    everything = {"info", "warning"}
    assert shown == {
        "trace": everything,
        "debug": everything,
        "info": everything,
        "warning": {"warning"},
        "error": set(),
    }


OLIVE = {"input_model": {"type": "HFModel", "model_path": "org/m"}, "passes": {"q": {"type": "QairtPreparation"}}}


@pytest.mark.parametrize(
    ("name", "passes", "remedy"),
    [
        ("w.json", {}, "`olive run --config w.json` runs it; `qairt init org/m` writes a recipe for its model"),
        (
            "w.json",
            {"q": {"type": "QairtPipelinePass", "recipe": "phi.yaml"}},
            "`olive run --config w.json` runs it; its recipe is phi.yaml: `qairt run phi.yaml`",
        ),
        ("w.yaml", {}, "`olive run --config w.yaml` runs it; `qairt init org/m` writes a recipe for its model"),
    ],
)
def test_a_workflow_of_olive_is_recognised(tmp_path, monkeypatch, capsys, name, passes, remedy):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(json.dumps(OLIVE | ({"passes": passes} if passes else {})))
    assert main(["check", name]) == 2
    assert f"{name}: this is an Olive workflow, not a recipe\n  {remedy}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"passes": 3, "input_model": {}}'])
def test_any_other_json_file_is_refused_for_its_extension(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"\.json is not a recipe's extension"):
        Recipe.from_file(path)
