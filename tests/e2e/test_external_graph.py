"""A graph that torch exported, with the encodings of somebody else's tool and the model it came from: all the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from hf_graphs import calibrated, export_hf, hf_feeds
from tiny_graphs import run
from tiny_recipe import TEXT, write_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.runtime.emulator import EmulatedGenerator
from qairt.toolchain.soc import SOCS

STAGES = {
    "model_loading": {},
    "export": {"onnx": "theirs.onnx", "encodings": "theirs.encodings"},
    "prepare_exports": {"arn": [1, 8], "context_length": 32},
    "split_model": {"num_splits": 3},
    "mha_to_sha_conversion": {},
    "quantize": {},
    "export_bundle": {},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("external")
    write_model(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    theirs = export_hf(folder / "theirs.onnx", model, attention="sdpa")
    ids = Tokenizer.from_file(str(folder / "model" / "tokenizer.json")).encode(TEXT).ids
    first = hf_feeds(theirs, ids[:24])
    then = hf_feeds(theirs, ids[24:32], run(theirs, first))
    calibrated(theirs, [first, then], folder / "theirs.encodings")
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> LLMPipeline:
    recipe = {"model_id_or_path": "model", "backend": "CPU", "stages": STAGES}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(folder / "recipe.yaml", cache_dir=folder / "cache")
    result = pipeline.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return pipeline


def test_the_quantized_chain_agrees_with_the_model_it_was_exported_from(finished: LLMPipeline, folder: Path):
    """Every rung, from the bound graphs to the quantized parts, against the weights in the model's folder."""
    report = finished.verify()
    rungs = {rung.rung: rung for rung in report.rungs}
    assert set(rungs) == {"prepare_exports", "split_model", "mha_to_sha_conversion", "quantize"}
    assert "an external graph has the lengths it was exported for" in next(s.why for s in report.skipped)
    for rung in ("prepare_exports", "split_model", "mha_to_sha_conversion"):
        assert min(output.sqnr_db for output in rungs[rung].outputs) > 90, rung
    # The ranges were measured on 32 tokens only; a wrong encoding or name leaves no signal at all.
    assert min(output.sqnr_db for output in rungs["quantize"].outputs) > 10


def test_it_generates_with_the_tokenizer_and_template_of_the_model(finished: LLMPipeline):
    answer = finished.generate("Hi", max_new_tokens=5)
    assert len(answer.tokens) == 5


@pytest.mark.compiler
def test_the_compiler_takes_its_parts_and_the_emulator_agrees_with_the_cpu(finished: LLMPipeline):
    pytest.importorskip("onnxruntime_qnn")
    parts = finished.finished().quantized_parts[8]
    with EmulatedGenerator({8: parts}, finished.finished().config, notify=print, soc=SOCS["SM8650"]) as generator:
        generator.prefill(finished.finished().tokenizer.encode(TEXT)[:8])
        comparison = generator.comparison
    assert comparison is not None
    assert list(comparison.worst_sqnr_db) == ["ar8-cl32_1_of_3", "ar8-cl32_2_of_3", "ar8-cl32_3_of_3"]
    assert min(db for outputs in comparison.worst_sqnr_db.values() for db in outputs.values()) > 30


def test_the_bundle_holds_the_tokenizer(finished: LLMPipeline, folder: Path):
    bundle, *_ = (folder / "cache").glob("export_bundle/tokenizer.json")
    assert Tokenizer.from_file(str(bundle)).encode("Hi").ids == finished.finished().tokenizer.encode("Hi")


def test_without_model_loading_it_says_what_verify_needs(folder: Path, tmp_path: Path):
    recipe = {"backend": "CPU", "stages": {name: given for name, given in STAGES.items() if name != "model_loading"}}
    (folder / "bare.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(folder / "bare.yaml", cache_dir=tmp_path)
    with pytest.raises(RecipeError, match="there is no float model to compare with") as caught:
        pipeline.verify()
    assert str(caught.value) == (
        "stages.export.onnx: there is no float model to compare with: the recipe starts from an external ONNX graph\n"
        "  set model_id_or_path to the model it was exported from, and put model_loading before export"
    )
