"""Recipes for the vendor's pipeline are translated; settings without an equivalent are reported with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_model

from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe
from qairt.recipe.documented_keys import apply_documented_keys
from qairt.recipe.vendor import read_vendor_recipe

VENDOR = """\
model_id_or_path: model
backend: HTP
soc_details: "chipset:SC8380XP"
enable_cache: true
log_level: info
generator_config:
  sequence_length: 100
  context_length: 256
stages:
  model_loader:
    model_reauthoring: true
    execution_environment: gpu
    hf_pretrained_kwargs:
      dtype: float32
    model_config_overrides:
      transposed_key_cache: true
      num_logits_to_keep: 0
  quantization:
    recipe_name: lpbq_seqmse
    calibration_chunks: 2
    technique_kwargs:
      lpbq:
        module_precisions:
          rms_norm: {weight_precision: int16, mode: asymmetric}
          embedding: {weight_precision: int16}
          lm_head: {weight_precision: int4}
          kv_cache: {activation_precision: int8, match_info: [v_proj]}
  genai_builder:
    weight_sharing: true
    transform_options:
      arn: [8, 32]
      context_length: [64, 96, 128, 192, 256]
      split.num_splits: 9
      "split.split_embedding": true
    calibration_options:
      act_precision: 16
      bias_precision: 32
    compile_options:
      "graphs.optimization_type": 2
      graphs.hvx_threads: 4
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("vendor") / "model", num_hidden_layers=8)


def write(model: Path, text: str = VENDOR) -> Path:
    path = model.parent / "vendor.yaml"
    path.write_text(text)
    return path


def opened(model: Path, text: str = VENDOR) -> LLMPipeline:
    return LLMPipeline.from_recipe(write(model, text), cache_dir=model.parent / "cache")


def line_of(word: str) -> int:
    return next(number for number, line in enumerate(VENDOR.splitlines(), 1) if word in line)


def translated(folder: Path, text: str) -> tuple[Recipe, list[str]]:
    path = folder / "vendor.yaml"
    path.write_text(text)
    recipe = Recipe.from_file(path)
    return recipe, [*apply_documented_keys(recipe), *read_vendor_recipe(recipe)]


def test_the_fan_out_is_90_graphs_and_9_binaries(model):
    made = opened(model).plan()
    counts = {stage.stage.name: len(stage.items) for stage in made.stages}
    assert counts == {
        "model_loading": 1,
        "quantization": 1,
        "export": 1,
        "prepare_exports": 10,
        "split_model": 90,
        "mha_to_sha_conversion": 80,
        "convert": 90,
        "quantize": 90,
        "generate_context_binary": 9,
        "export_bundle": 1,
    }
    assert made.stages[-2].artifacts == {"context binary": 9}
    assert made.stages[-3].artifacts["DLC"] == 90


def test_every_setting_is_moved_to_its_equivalent(model):
    made = opened(model)
    stages = made.stages
    assert stages.prepare_exports.arn == [8, 32]
    assert stages.prepare_exports.context_length == [64, 96, 128, 192, 256]
    assert stages.split_model.num_splits == 9
    assert (stages.quantization.act_bitwidth, stages.quantize.act_bitwidth, stages.quantize.bias_bitwidth) == (
        16,
        16,
        32,
    )
    assert stages.generate_context_binary.optimization_level == 2
    assert stages.quantization.recipe.endswith("lpbq_seqmse.yaml")
    assert stages.quantization.calibration_chunks == 2
    assert stages.quantization.technique == {
        "module_precisions": {"rms_norm": 16, "embedding": 16, "lm_head": 8, "kv_cache": 8}
    }
    assert (made.settings.generator.context_length, made.settings.generator.sequence_length) == (256, 100)
    assert (made.settings.log_level, made.settings.execution_environment.device) == ("info", "auto")
    assert made.recipe.where("stages.split_model.num_splits") == f"{made.recipe.source}:{line_of('num_splits')}"
    assert made.recipe.where("stages.quantize") == f"{made.recipe.source}:{line_of('genai_builder')}"


def test_settings_without_an_equivalent_are_reported_with_their_line(model):
    made = opened(model)
    named = {
        "dtype": "stages.model_loader.hf_pretrained_kwargs.dtype",
        "lm_head": "stages.quantization.technique_kwargs.lpbq.module_precisions.lm_head",
        "hvx_threads": "stages.genai_builder.compile_options.graphs.hvx_threads",
    }
    starts = [f"{made.recipe.source}:{line_of(word)}: {name} has no equivalent: " for word, name in named.items()]
    assert len(made.warnings) == len(starts)
    assert all(note.startswith(start) for note, start in zip(made.warnings, starts, strict=True))
    assert "lm_head gets 8 bits, the fewest that qairt supports for it" in made.warnings[1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("transposed_key_cache: true", "transposed_key_cache: false", "the key cache is always transposed"),
        ("num_logits_to_keep: 0", "num_logits_to_keep: 1", "logits of all tokens"),
        ("arn: [8, 32]", "arns: [8, 32]", "qairt does not know this setting"),
        ("act_precision: 16", "act_precision: 16\n      per_channel: true", "qairt does not know this setting"),
        (
            "embedding: {weight_precision: int16}",
            "embedding: {weight_precision: int32}",
            "embedding can have 8 or 16 bits",
        ),
        ("embedding: {weight_precision: int16}", "q_proj: {weight_precision: int8}", "qairt does not know this module"),
        ("embedding: {weight_precision: int16}", "embedding: {mode: symmetric}", "it has no precision"),
        ("embedding: {weight_precision: int16}", "custom: {Mul_7: {weight_precision: int8}}", "the vendor's graph"),
    ],
)
def test_a_setting_that_would_change_the_result_is_an_error_with_its_line(model, old, new, message):
    text = VENDOR.replace(old, new)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line not in VENDOR.splitlines()]
    with pytest.raises(RecipeError, match=message) as error:
        opened(model, text)
    assert str(error.value).startswith(f"{model.parent}/vendor.yaml:{lines[-1]}: ")
    assert "ignoring it would change the result" in str(error.value)


@pytest.mark.parametrize(
    ("technique", "nearest"),
    [
        ("lpbq_adascale", "lpbq_learned"),
        ("spinquant_lpbq", "lpbq_rotated"),
        ("pcq_w8", "minmax"),
        ("lpbq_seqms", "lpbq_seqmse"),
        ("unheard_of", "balanced"),
    ],
)
def test_a_technique_that_qairt_lacks_is_an_error_that_offers_the_nearest_one(tmp_path, technique, nearest):
    with pytest.raises(RecipeError) as error:
        translated(tmp_path, VENDOR.replace("recipe_name: lpbq_seqmse", f"recipe_name: {technique}"))
    assert str(error.value) == (
        f"{tmp_path}/vendor.yaml:{line_of('recipe_name')}: stages.quantization.recipe_name: qairt has no technique"
        f" {technique}\n  the nearest one is {nearest}; `qairt recipes` lists them"
    )


def test_settings_of_techniques(tmp_path):
    settings = yaml.safe_load(VENDOR)
    settings["stages"]["quantization"] = {
        "recipe_name": "lpbq_seqmse",
        "technique_kwargs": {
            "lpbq": {"decompressed_bw": 8, "block_size": 32, "block_grouping": 1, "symmetric": True},
            "seqmse": {"num_batches": 20, "num_candidates": 30},
        },
        "exporter_config": {"args": {"opset_version": 17}},
    }
    recipe, notes = translated(tmp_path, yaml.safe_dump(settings, sort_keys=False))
    assert recipe.at("stages.quantization") == {
        "recipe": "lpbq_seqmse.yaml",
        "technique": {"decompressed_bitwidth": 8, "block_size": 32, "candidates": 30},
        "calibration_chunks": 20,
        "act_bitwidth": 16,
    }
    (note,) = [note for note in notes if "opset_version" in note]
    assert note.endswith("the ONNX graphs are written by qairt itself, without torch's exporter")
    settings["stages"]["quantization"]["technique_kwargs"]["lpbq"]["symmetric"] = False
    with pytest.raises(RecipeError, match="symmetric has no equivalent, .* weights in blocks are symmetric"):
        translated(tmp_path, yaml.safe_dump(settings, sort_keys=False))


def test_all_errors_are_reported_at_once(model):
    text = VENDOR.replace("num_logits_to_keep: 0", "num_logits_to_keep: 1").replace("arn:", "arns:")
    with pytest.raises(RecipeError) as error:
        opened(model, text)
    assert len(error.value.faults) == 2


def test_a_setting_that_changes_speed_only_is_a_note(tmp_path):
    text = VENDOR.replace("weight_sharing: true", "weight_sharing: false").replace("graphs.hvx", "graphs.anything")
    _, notes = translated(tmp_path, text)
    assert any(
        "weight_sharing has no equivalent: the graphs in a binary always share their weights" in note for note in notes
    )
    assert any("graphs.anything_threads has no equivalent: it changes speed, not values" in note for note in notes)


@pytest.mark.parametrize("group", ["", "compile_options.", "compile_options.graphs.", "compile_options.context."])
def test_settings_of_the_compiler_that_it_takes_are_moved(tmp_path, group):
    text = VENDOR.replace(
        "    compile_options:",
        f"    {group}vtcm_size_in_mb: 4\n    {group}extended_udma: true\n    native_kv: true\n    compile_options:",
    ).replace("split.num_splits: 9", "split.num_splits: 9\n      split.split_lm_head: true")
    recipe, notes = translated(tmp_path, text)
    stages = recipe["stages"]
    assert stages["generate_context_binary"]["vtcm_mb"] == 4
    assert stages["generate_context_binary"]["extended_udma"] is True
    assert stages["split_model"] == {"num_splits": 9, "split_lm_head": True}
    said = [note.partition(": ")[2] for note in notes]
    assert (
        "stages.genai_builder.native_kv has no equivalent: keys and values have the layout of the graph: the wheel's "
        "compiler makes none in the NPU's own"
    ) in said
    assert (
        "stages.genai_builder.compile_options.graphs.hvx_threads has no equivalent: the wheel's compiler takes no "
        "number of vector threads: a graph uses all that the chip has"
    ) in said


def test_a_vtcm_of_nought_means_all_of_it(tmp_path):
    recipe, _ = translated(tmp_path, VENDOR.replace("graphs.hvx_threads: 4", "graphs.vtcm_size_in_mb: 0"))
    assert recipe.at("stages.generate_context_binary.vtcm_mb") is None


def test_graphs_default_to_the_context_length_of_the_generator(tmp_path):
    text = VENDOR.replace("      context_length: [64, 96, 128, 192, 256]\n", "")
    recipe, _ = translated(tmp_path, text)
    assert recipe.at("stages.prepare_exports.context_length") == 256


def exceptions(folder: Path, *entries: dict) -> str:
    (folder / "exceptions.json").write_text(json.dumps({"module_list": [], "name_list": list(entries)}))
    text = yaml.safe_load(VENDOR)
    text["stages"]["quantization"]["technique_kwargs"] = {"lpbq": {"exceptions_json": "exceptions.json"}}
    return yaml.safe_dump(text, sort_keys=False)


def entry(name: str, **exceptions: object) -> dict:
    return {"module_name": name, "exceptions": exceptions}


def test_an_exceptions_file(tmp_path):
    text = exceptions(
        tmp_path,
        entry("\\w*model_embed_tokens_Gather", param_exceptions={"bitwidth": 8, "asymmetric": True}),
        entry("\\w*v_proj_MatMul", param_exceptions=None, output_exceptions=[{"output_index": 0, "bitwidth": 8}]),
        entry("\\w*norm_Pow", output_exceptions=[{"output_index": 0, "enabled": False}]),
        entry("\\w*norm_Mul_1", input_exceptions=[{"input_index": 0, "bitwidth": 16}]),
    )
    recipe, notes = translated(tmp_path, text)
    assert recipe.at("stages.quantization.technique.module_precisions") == {"embedding": 8, "kv_cache": 8}
    assert sum("exceptions_json" in note for note in notes) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "exceptions_json: exceptions.json was not found in .*\n  give the path of an existing file"),
        ("{", "is not an exceptions file: Expecting property name"),
        ('{"name_list": [{"module_name": "x"}]}', "is not an exceptions file: an entry is not {module_name, "),
        ('{"name_list": 3}', "is not an exceptions file: an entry is not {module_name, "),
    ],
)
def test_an_invalid_exceptions_file_is_reported_with_its_line(tmp_path, content, message):
    text = exceptions(tmp_path)
    file = tmp_path / "exceptions.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(RecipeError, match=rf"vendor.yaml:\d+: [^\0]*{message}"):
        translated(tmp_path, text)


def test_text_instead_of_settings_is_reported_with_its_line(model):
    start, end = VENDOR.index("  quantization:"), VENDOR.index("  genai_builder:")
    with pytest.raises(RecipeError) as raised:
        opened(model, f"{VENDOR[:start]}  quantization: foo\n{VENDOR[end:]}")
    assert "stages.quantization" in str(raised.value)
    assert f"vendor.yaml:{line_of('  quantization:')}" in str(raised.value)


def test_an_exception_for_an_unknown_module_is_an_error(tmp_path):
    text = exceptions(tmp_path, entry("Softmax_3", output_exceptions=[{"bitwidth": 8}]))
    with pytest.raises(
        RecipeError, match="exceptions_json.Softmax_3 has no equivalent, and ignoring it would change the result"
    ):
        translated(tmp_path, text)


def test_the_translated_recipe_is_kept_with_the_cache(model):
    made = opened(model)
    made.cache.prepare()
    made._write_recipe()
    again = LLMPipeline.load(model.parent / "cache")
    assert again.warnings == []
    assert again.stage_names() == made.stage_names()
    assert again.stages.split_model.num_splits == 9


def test_our_own_recipes_are_not_changed(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("stages:\n  quantization: {recipe: minmax.yaml}\n")
    recipe = Recipe.from_file(path)
    before = dict(recipe)
    assert read_vendor_recipe(recipe) == []
    assert dict(recipe) == before
