"""`backend: CPU`: quantized ONNX on any platform; and somebody else's ONNX in place of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tiny_graphs import run
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError, GraphError
from qairt.graph import files
from qairt.llm import LLMPipeline

FOREIGN = ["export", "prepare_exports", "split_model", "mha_to_sha_conversion", "quantize", "export_bundle"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("cpu"), family="qwen3", backend="CPU", technique="minmax.yaml")


@pytest.fixture(scope="module")
def finished(recipe: Path) -> LLMPipeline:
    made = LLMPipeline.from_recipe(recipe, cache_dir=recipe.parent / "cache")
    result = made.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return made


def outputs(pipeline: LLMPipeline, stage: str) -> dict[str, Any]:
    planned = next(planned for planned in pipeline.plan().stages if planned.stage.name == stage)
    return {item.label: pipeline.cache.get(item.key, type(item.stage)) for item in planned.items}


def test_the_bundle_holds_quantized_onnx_that_runs(finished: LLMPipeline):
    folder = finished.cache_dir / "export_bundle"
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["backend"] == "CPU"
    assert len(metadata["graphs"]) == 6
    first = metadata["graphs"][0]
    found = run(folder / first["onnx"], {"input_ids": np.array([[7]], np.int32)})
    assert found["hidden_0"].dtype == np.uint16
    assert found["hidden_0"].shape == (1, 1, 64)


def test_it_generates_what_it_generated_before(finished: LLMPipeline):
    with finished.generator() as generator:
        answers = [finished.answer(generator, "Hi", max_new_tokens=5).result.tokens for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 5


def test_generating_before_a_run_says_what_is_missing(recipe: Path, tmp_path: Path):
    pipeline = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path)
    with pytest.raises(CacheError, match=r"model_loading all: it is not built yet"):
        pipeline.answer(None, "Hi")


def whole_graph(pipeline: LLMPipeline, folder: Path) -> tuple[Path, Path]:
    """A whole float graph, its weights beside it, and its encodings."""
    pipeline.export_workfolder(folder)
    graph = folder / "models_ar_n" / "ar8-cl32" / "onnx"
    return graph / "ar8-cl32.onnx", graph / "ar8-cl32.encodings"


def foreign_recipe(folder: Path, onnx: Path, encodings: Path) -> Path:
    stages: dict[str, Any] = {name: {} for name in FOREIGN}
    stages["export"] = {"onnx": str(onnx), "encodings": str(encodings)}
    stages["prepare_exports"] = {"arn": [1, 4], "context_length": 24}
    stages["split_model"] = {"num_splits": 3}
    path = folder / "foreign.yaml"
    path.write_text(yaml.safe_dump({"backend": "CPU", "stages": stages}, sort_keys=False))
    return path


def test_a_foreign_graph_goes_the_same_way(finished: LLMPipeline, tmp_path: Path):
    recipe = foreign_recipe(tmp_path, *whole_graph(finished, tmp_path / "work"))
    pipeline = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    counts = {stage.stage.name: dict(stage.artifacts) for stage in pipeline.plan().stages}
    assert counts["split_model"] == {"ONNX": 6, "encodings": 6}
    result = pipeline.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    parts = pipeline.quantized_parts()
    assert {ar: len(chain) for ar, chain in parts.items()} == {1: 3, 4: 3}
    assert parts[4][1].signature.inputs[1].shape == (1, 1, 4, 24)
    ours = outputs(finished, "quantize")["ar8-split2"]
    for name in ("quantized_weights.bin",):
        mine = parts[4][1].onnx.with_name(name)
        assert mine.read_bytes() == ours.quantized_weights.read_bytes()


def test_an_operation_no_decoder_has_is_named_and_the_rest_is_kept(finished: LLMPipeline, tmp_path: Path):
    onnx, encodings = whole_graph(finished, tmp_path / "work")
    model = files.load(onnx)
    next(node for node in model.graph if node.op_type == "Sigmoid").op_type = "Erf"
    (tmp_path / "weights.bin").write_bytes(onnx.with_name("weights.bin").read_bytes())
    files.save(model, tmp_path / "odd.onnx")
    recipe = foreign_recipe(tmp_path, tmp_path / "odd.onnx", encodings)
    result = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache").construct(RunOptions(executor="inline"))
    assert result.status == "failed"
    assert {failure.what for failure in result.failed} == {"the operation Erf is not supported"}
    assert result.executed == ["export all"]


def test_an_export_that_is_no_decoder_is_refused_before_it_starts(tmp_path: Path, finished: LLMPipeline):
    part = outputs(finished, "split_model")["ar8-split2"]
    recipe = foreign_recipe(tmp_path, part.onnx, part.encodings)
    with pytest.raises(GraphError, match="no Gather reads input_ids"):
        LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache").plan()


def test_an_altered_byte_is_found_and_its_item_made_again(recipe: Path, finished: LLMPipeline):
    signature = outputs(finished, "quantize")["ar1-split1"].signature
    before = signature.read_bytes()
    signature.write_bytes(before.replace(b'"ar": 1', b'"ar": 2') if b'"ar": 1' in before else before[::-1])
    again = LLMPipeline.from_recipe(recipe, cache_dir=finished.cache_dir)
    assert [item.name for item in again.plan().to_run()] == ["quantize ar1-split1"]
    assert any("signature.json has different content" in note for note in again.warnings)
    result = again.construct(RunOptions(executor="inline"))
    assert result.executed == ["quantize ar1-split1"]
