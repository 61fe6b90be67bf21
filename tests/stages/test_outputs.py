"""Predictions and pictures of the stages, with a tiny model."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from tiny_parameters import parameters_of, tiny_parameters
from tiny_recipe import write_recipe

from qairt.engine.plan.outputs import kinds_of
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import registered_stages
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.quant.encodings import BlockScales, Encoding, Encodings, range_encoding
from qairt.quant.structure import Structure
from qairt.results.pictures import Drawn, draw_pictures
from qairt.stages.pictures.encodings import GridSizes, draw_grids, heat_map

PREDICTIONS = "stages.quantize.output.prediction.enable=true"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_recipe(tmp_path_factory.mktemp("outputs"), backend="CPU", technique="minmax.yaml")
    path.write_text(path.read_text().replace("context_length: 32", "context_length: 96"))
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path) -> LLMPipeline:
    made = opened(recipe, PREDICTIONS)
    result = made.construct(RunOptions(executor="inline", until="quantize", memory=10**10))
    assert result.status == "done", result.failed
    return made


def opened(recipe: Path, *words: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, words, cache_dir=recipe.parent / "cache")


def run(pipeline: LLMPipeline) -> list[str]:
    result = pipeline.construct(RunOptions(executor="inline", until="quantize", memory=10**10))
    assert result.status == "done", result.failed
    return result.executed


def titles(path: Path) -> list[str]:
    """The texts for screen readers and tooltips."""
    root = ET.parse(path).getroot()
    assert root.attrib["role"] == "img"
    return [root.attrib["aria-label"], *(each.text or "" for each in root.iter(f"{SVG}title"))]


def test_which_stages_write_predictions_and_pictures():
    kinds = {name: kinds_of(stage) for name, stage in registered_stages().items()}
    assert kinds["quantize"] == ("prediction", "visualization")
    for name in ("model_loading", "quantization", "export", "prepare_exports", "split_model", "mha_to_sha_conversion"):
        assert kinds[name] == ("visualization",)
    for name in ("convert", "generate_context_binary", "export_bundle"):
        assert kinds[name] == ("visualization",)
    assert kinds["nsys"] == ()


def written(folder: Path) -> list[str]:
    paths = (path for path in folder.glob("*/*/*.*") if path.parent.name in ("pred", "viz"))
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_pictures_of_a_run_are_drawn_when_somebody_looks(finished: LLMPipeline):
    folder = finished.cache_dir
    assert written(folder) == [
        "quantize/pred/predictions.jsonl",
        "quantize/viz/gallery.html",
        "quantize/viz/predictions.md",
        "quantize/viz/quantized_sizes.svg",
    ]
    items = {(item.stage.name, item.label): item.key for item in finished.plan().items if item.cached}
    drawn = draw_pictures(finished, items)
    assert drawn.failures == ()
    assert drawn.stages == (
        "model_loading",
        "quantization",
        "export",
        "prepare_exports",
        "split_model",
        "mha_to_sha_conversion",
    )
    assert draw_pictures(finished, items) == Drawn()
    assert written(folder) == [
        "export/viz/gallery.html",
        "export/viz/operators.svg",
        "mha_to_sha_conversion/viz/gallery.html",
        "mha_to_sha_conversion/viz/operator_counts.svg",
        "model_loading/viz/gallery.html",
        "model_loading/viz/model_sizes.svg",
        "prepare_exports/viz/gallery.html",
        "prepare_exports/viz/interfaces.svg",
        "quantization/viz/activation_ranges.svg",
        "quantization/viz/gallery.html",
        "quantization/viz/weight_steps.svg",
        "quantize/pred/predictions.jsonl",
        "quantize/viz/gallery.html",
        "quantize/viz/predictions.md",
        "quantize/viz/quantized_sizes.svg",
        "split_model/viz/gallery.html",
        "split_model/viz/part_sizes.svg",
    ]
    (parts,) = titles(folder / "split_model/viz/part_sizes.svg")
    assert parts.count("; part ") == 2  # three bars
    assert parts.startswith("Float weights of each part (part 1 is the embedding). part 1: ")
    (operators,) = titles(folder / "export/viz/operators.svg")
    assert "; MatMul: " in operators
    (separate,) = titles(folder / "mha_to_sha_conversion/viz/operator_counts.svg")
    assert re.search(r"ar1-cl96_2_of_3: \d+ operators, \d+ MatMul", separate)
    (moved,) = titles(folder / "prepare_exports/viz/interfaces.svg")
    assert re.search(r"ar1-cl96: \S+ kB in, \S+ kB out; ar\d+-cl96: ", moved)
    (weights,) = titles(folder / "model_loading/viz/model_sizes.svg")
    assert re.search(r"embedding: \S+ kB; \d+ layers: \S+ kB; final norm, lm_head: ", weights)
    tensors = titles(folder / "quantization/viz/weight_steps.svg")
    assert any(each.startswith("self_attn.q_proj, layer 1: ") for each in tensors)
    tensors = titles(folder / "quantization/viz/activation_ranges.svg")
    assert any(each.startswith("hidden, layer 0: ") for each in tensors)


def test_answers_of_the_quantized_model(finished: LLMPipeline):
    folder = finished.cache_dir / "quantize"
    (line,) = [json.loads(line) for line in (folder / "pred/predictions.jsonl").read_text().splitlines()]
    assert line["prompt"] == "Why is the sky blue?"  # the other one does not fit 96 tokens
    assert 0 < line["tokens"] <= 48
    assert line["text_clean"] == line["text_raw"].strip()
    assert min(line["prefill_ms"], line["decode_ms"]) > 0
    page = (folder / "viz/predictions.md").read_text()
    assert "> Why is the sky blue?" in page
    with finished.generator("cpu") as generator:
        answer = finished.answer(generator, line["prompt"], max_new_tokens=48)
        assert answer.result.tokens[: line["tokens"]]
        assert len(answer.result.tokens) == line["tokens"]


def test_turning_predictions_off_runs_nothing_and_leaves_them(finished: LLMPipeline, recipe: Path):
    before = (finished.cache_dir / "quantize/pred/predictions.jsonl").stat().st_mtime_ns
    assert run(opened(recipe)) == []
    assert (finished.cache_dir / "quantize/pred/predictions.jsonl").stat().st_mtime_ns == before


def test_another_output_folder_runs_no_item(finished: LLMPipeline, recipe: Path, tmp_path: Path):
    pictures = "stages.split_model.output.visualization"
    assert run(opened(recipe, f"{pictures}.enable=true", f"{pictures}.save_dir={tmp_path}/v")) == []
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["gallery.html", "part_sizes.svg"]


def test_it_is_an_error_if_no_prompt_fits(recipe: Path, tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.read_text().replace("context_length: 96", "context_length: 16"))
    for name in ("model", "text.txt"):
        (tmp_path / name).symlink_to(recipe.parent / name)
    made = LLMPipeline.from_recipe(path, [PREDICTIONS], cache_dir=tmp_path / "cache")
    result = made.construct(RunOptions(executor="inline", until="quantize", memory=10**10))
    assert result.status == "failed"
    (failure,) = result.failed_outputs
    assert (failure.stage, failure.label) == ("quantize", "prediction")
    assert failure.what.startswith("none of the 2 prompts fits: ")
    assert failure.where == "stages.torch_profiler.prompts"
    assert (made.cache_dir / "quantize/viz/gallery.html").is_file(), "pictures do not depend on predictions"


def test_predictions_of_an_external_graph_are_refused_before_work_starts(tmp_path: Path):
    recipe = tmp_path / "foreign.yaml"
    (tmp_path / "a.onnx").write_bytes(b"")
    (tmp_path / "a.encodings").write_text("{}")
    recipe.write_text(
        "backend: CPU\nstages:\n  export: {onnx: a.onnx, encodings: a.encodings}\n  prepare_exports: {}\n"
        "  split_model: {}\n  mha_to_sha_conversion: {}\n  quantize: {output: {prediction: {enable: true}}}\n"
    )
    made = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    stage = next(stage for stage in made.configured_stages if stage.name == "quantize")
    with pytest.raises(RecipeError, match="foreign.yaml:7: .*predictions need a tokenizer"):
        made.check_stage(stage, made.env())


@pytest.fixture(scope="module")
def structure(tmp_path_factory: pytest.TempPathFactory) -> Structure:
    """Of layers with windows, capped scores and norms on both sides."""
    return Structure(tiny_parameters(tmp_path_factory.mktemp("gemma2"), "gemma2").config)


def test_activations_whose_range_is_measured_are_drawn(structure: Structure):
    grid = range_encoding(-2, 3, 16)
    sizes = GridSizes.of(Encodings(dict.fromkeys(structure.tensors, grid)), structure).activation_ranges
    found = {name.removeprefix("layers.1.") for name in sizes if name.startswith("layers.1.")}
    attention = {"norm", "q", "k", "v", "scores", "tanh", "capped", "context", "o", "post_norm", "residual"}
    mlp = {"norm", "gate", "gelu", "up", "product", "down", "post_norm"}
    assert found == {f"attn.{name}" for name in attention} | {f"mlp.{name}" for name in mlp}
    assert {"hidden_1", "past_key_1_out", "past_value_1_out"} < sizes.keys()
    assert not {"logits", "attention_mask", "head.norm"} & sizes.keys()


def test_what_some_layers_have_is_drawn(tmp_path: Path):
    """Short convolutions in layers 0, 2 and 3, attention in layer 1."""
    structure = Structure(parameters_of(tmp_path / "lfm2", "lfm2").config)
    grids = Encodings(dict.fromkeys(structure.tensors, range_encoding(-2, 3, 16)))
    draw_grids(GridSizes.of(grids, structure), tmp_path)
    drawn = set(titles(tmp_path / "activation_ranges.svg"))
    assert {"conv.gated, layer 0: 3", "conv.gated, layer 3: 3", "attn.scores, layer 1: 3"} < drawn
    assert "conv.gated, layer 1: 3" not in drawn


def test_encodings_without_layers_give_no_picture(tmp_path: Path, structure: Structure):
    flat = Encoding(8, True, np.ones(1, np.float32), np.array([-128]))
    draw_grids(GridSizes.of(Encodings({"logits": flat}, {"lm_head.weight": flat}), structure), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_step_of_block_scales_is_their_mean(tmp_path: Path, structure: Structure):
    blocks = BlockScales(2, np.array([[1, 3], [3, 5]], np.uint8))
    scale = np.array([0.5, 2.0], np.float32)
    lpbq = Encoding(4, True, scale, np.array([-8, -8]), axis=1, blocks=blocks)
    draw_grids(GridSizes.of(Encodings({}, {"model.layers.0.mlp.up_proj.weight": lpbq}), structure), tmp_path)
    assert titles(tmp_path / "weight_steps.svg")[1] == "mlp.up_proj, layer 0: 4.5"


def test_a_map_of_one_value_has_one_colour():
    drawn = heat_map("Same", [("a", {0: 2.0, 1: 2.0})], [0, 1])
    assert drawn.count('fill="rgb(225,236,248)"') == 2
    ET.fromstring(drawn)
