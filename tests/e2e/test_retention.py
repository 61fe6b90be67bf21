"""A two-layer model of which only the bundle is kept: what asks for more has it rebuilt, the same to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.bundle.check.bundle import check_bundle
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline

pytestmark = pytest.mark.compiler

GRAPHS = ("export", "prepare_exports", "split_model", "mha_to_sha_conversion", "quantize")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_recipe(tmp_path_factory.mktemp("kept"))
    content = yaml.safe_load(path.read_text())
    content["stages"]["generate_context_binary"]["emulate"] = "none"
    path.write_text(yaml.safe_dump(content | {"keep": "bundle"}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def made(recipe: Path) -> Path:
    """The cache of a run that kept only the bundle."""
    pipeline = opened(recipe, recipe.parent / "cache")
    assert pipeline.construct(RunOptions(executor="inline")).status == "done"
    return pipeline.cache_dir


def opened(recipe: Path, cache: Path, *words: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, words, cache_dir=cache)


@pytest.fixture
def cache(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "cache"))


def whole(pipeline: LLMPipeline) -> set[str]:
    """The stages of which every item has all its files."""
    entries = list(pipeline.cache.entries())
    return {entry.stage for entry in entries} - {entry.stage for entry in entries if not entry.is_whole}


def test_only_the_bundle_and_what_quantization_chose_are_kept(recipe: Path, made: Path):
    pipeline = opened(recipe, made)
    assert whole(pipeline) == {"model_loading", "quantization", "export_bundle"}
    assert list(pipeline.state_folder.rglob("weights.bin")) == []
    assert [found.text for found in check_bundle(made / "export_bundle") if found.status != "ok"] == []
    assert pipeline.plan().to_run() == []


def test_every_file_is_the_one_that_a_run_makes_which_keeps_all(recipe: Path, made: Path, tmp_path: Path):
    other = opened(recipe, tmp_path / "all", "keep=all")
    assert other.construct(RunOptions(executor="inline", until="quantize")).status == "done"
    assert whole(other) == {"model_loading", "quantization", *GRAPHS}
    assert _digests(opened(recipe, made)) == _digests(other)


def _digests(pipeline: LLMPipeline) -> dict[str, str]:
    """Of the graphs and weights of every item, here or let go."""
    return {
        f"{entry.stage} {entry.label} {name}": file["sha256"]
        for entry in pipeline.cache.entries()
        if entry.stage in GRAPHS
        for name, file in entry.files.items()
        if not name.endswith(".dlc")
    }


def test_a_rung_of_the_ladder_has_its_graphs_rebuilt(recipe: Path, cache: Path):
    pipeline = opened(recipe, cache)
    found = pipeline.verify("split_model")
    assert [rung.rung for rung in found.rungs] == ["split_model"]
    assert found.passes
    assert "split_model" in whole(pipeline)
    assert "quantize" not in whole(pipeline)


def test_the_model_answers_from_rebuilt_graphs(recipe: Path, cache: Path):
    pipeline = opened(recipe, cache)
    with pipeline.generator("cpu") as generator:
        assert len(pipeline.answer(generator, "Hi", max_new_tokens=2).result.tokens) == 2
    assert "quantize" in whole(pipeline)


def test_the_bundle_of_another_runtime_has_its_binaries_rebuilt(recipe: Path, cache: Path, tmp_path: Path):
    opened(recipe, cache).export(tmp_path / "ort", "ort")
    assert [found.text for found in check_bundle(tmp_path / "ort") if found.status != "ok"] == []


def test_a_change_at_the_end_reuses_what_is_known_of_what_is_gone(recipe: Path, cache: Path):
    changed = opened(recipe, cache, "soc_details=chipset:SM8750")
    run = {item.name: item.reason for item in changed.plan().to_run()}
    assert run["quantize ar1-split2"].endswith(" reads its files, which were released")
    assert not any(name.startswith(("quantization", "model_loading", "convert")) for name in run)
