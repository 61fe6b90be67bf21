"""What `export_bundle` refuses before anything runs, and which format a recipe gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_recipe import write_recipe

from qairt.errors import QairtError
from qairt.llm import LLMPipeline
from qairt.stages.export_bundle import ExportBundle


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("bundle"), technique="minmax.yaml")


def opened(recipe: Path, *changes: str) -> tuple[LLMPipeline, ExportBundle]:
    pipeline = LLMPipeline.from_recipe(recipe, changes, cache_dir=recipe.parent / "cache")
    stage = next(stage for stage in pipeline.configured_stages if isinstance(stage, ExportBundle))
    return pipeline, stage


def refused(recipe: Path, *changes: str) -> str:
    pipeline, stage = opened(recipe, *changes)
    with pytest.raises(QairtError) as caught:
        pipeline.check_stage(stage, pipeline.env())
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ((), "genie"),
        (("stages.export_bundle.format=ort",), "ort"),
        (("stages.export_bundle.format=geniex",), "geniex"),
        (("backend=CPU",), "ort"),
    ],
)
def test_the_format_of_a_recipe(recipe: Path, changes: tuple[str, ...], form: str):
    pipeline, stage = opened(recipe, *changes)
    pipeline.check_stage(stage, pipeline.env())
    (planned,) = [planned for planned in pipeline.plan().stages if planned.stage.name == "export_bundle"]
    (item,) = planned.items
    assert item.task.params["format"] == form
    assert item.task.params.get("geniex_id") == ("llama_v3_model" if form == "geniex" else None)


def test_an_unknown_format_is_refused_with_its_line(recipe: Path):
    with pytest.raises(QairtError, match=r"stages.export_bundle.format"):
        opened(recipe, "stages.export_bundle.format=gguf")


def test_genie_without_binaries_is_refused(recipe: Path):
    assert refused(recipe, "backend=CPU", "stages.export_bundle.format=genie") == (
        "command line: stages.export_bundle.format: Genie needs context binaries, and backend CPU compiles none\n"
        "  set format to ort, or backend to HTP"
    )


def test_a_family_that_geniex_does_not_run_is_refused_before_a_run(tmp_path: Path):
    path = write_recipe(tmp_path, family="granite", technique="minmax.yaml")
    assert refused(path, "stages.export_bundle.format=geniex") == (
        "command line: stages.export_bundle.format: GenieX has no factory for model_type 'granite'\n"
        "  it runs llama, phi3, qwen2, qwen3; export this model for genie or ort"
    )


def test_lengths_that_geniex_cannot_run_are_refused(recipe: Path):
    told = refused(recipe, "stages.export_bundle.format=geniex", "stages.prepare_exports.arn=[1]")
    assert told == (
        "command line: stages.prepare_exports.arn: GenieX takes one AR for prompts and one for decoding; the graphs "
        "have AR 1\n  set arn to [1, 128], or export_bundle.format to genie"
    )


def test_lengths_that_onnxruntime_genai_cannot_run_are_refused(recipe: Path):
    told = refused(recipe, "stages.export_bundle.format=ort", "stages.prepare_exports.arn=[1]")
    assert told.startswith("command line: stages.prepare_exports.arn: onnxruntime-genai needs one AR for prompts and")
    told = refused(recipe, "stages.export_bundle.format=ort", "stages.prepare_exports.arn=[1, 24]")
    assert "would read prompts with AR 24, more than half the context of 32" in told


def test_a_model_without_an_end_is_refused_before_a_run(tmp_path: Path):
    path = write_recipe(tmp_path, technique="minmax.yaml")
    for name in ("config.json", "generation_config.json"):
        place = tmp_path / "model" / name
        if place.is_file():
            stated = json.loads(place.read_bytes())
            stated.pop("eos_token_id", None)
            place.write_text(json.dumps(stated))
    assert refused(path).startswith("eos_token_id: the model has no end-of-text token, so Genie would never stop\n")


def test_a_scaling_that_genie_lacks_is_refused_before_a_run(tmp_path: Path):
    scaling = {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 32,
        "truncate": False,
    }
    path = write_recipe(tmp_path, technique="minmax.yaml", rope_parameters=scaling)
    assert refused(path).startswith("rope_scaling.truncate: yarn rotary scaling without rounded limits")
    pipeline, stage = opened(path, "stages.export_bundle.format=ort")
    pipeline.check_stage(stage, pipeline.env())


def test_somebody_elses_graph_has_no_runtimes_configuration(recipe: Path):
    told = refused(recipe, "model_id_or_path=null", "stages.export_bundle.format=genie")
    assert "configuration and tokenizer, and an external ONNX graph has neither\n" in told
