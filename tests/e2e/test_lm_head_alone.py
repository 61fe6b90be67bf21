"""`split_lm_head`: the head as a part of its own, from the recipe to the bundle and Genie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.runtime.chain import PartChain
from qairt.toolchain.genie import dialog as genie

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler


def recipe_with(folder: Path, **split: Any) -> Path:
    """Two layers, blocks of 64."""
    recipe = write_recipe(folder, technique="lpbq.yaml", hidden_size=128, intermediate_size=192)
    content = yaml.safe_load(recipe.read_text())
    content["stages"]["split_model"] = split
    del content["stages"]["convert"]  # nothing here reads float DLCs
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    return recipe


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    folder = tmp_path_factory.mktemp("head")
    made = LLMPipeline.from_recipe(recipe_with(folder, num_splits=4, split_lm_head=True), cache_dir=folder / "cache")
    result = made.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return made


def test_two_layers_make_four_parts(finished: LLMPipeline):
    details = next(stage.details for stage in finished.plan().stages if stage.stage.name == "split_model")
    assert [text.split(",")[0] for text in map(str, details.values())] == [
        "embedding",
        "layers 0 to 0",
        "layers 1 to 1",
        "lm_head",
    ]
    last = finished.quantized_parts()[8][-1].signature
    assert [spec.name for spec in last.inputs] == ["hidden_2"]
    assert [spec.name for spec in last.outputs] == ["logits"]


def test_the_bundle_chains_the_binaries_in_order(finished: LLMPipeline):
    folder = finished.cache_dir / "export_bundle"
    config = json.loads((folder / "genie_config.json").read_text())
    binaries = config["dialog"]["engine"]["model"]["binary"]["ctx-bins"]
    assert binaries == [f"weight_sharing_model_{part}_of_4.serialized.bin" for part in (1, 2, 3, 4)]
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert len(metadata["graphs"]) == 8


def test_genie_says_what_the_cpu_says(finished: LLMPipeline):
    model = finished.genie_model()
    config = model.genie_config(model.binaries.build(lambda line: None))
    with (
        genie.Dialog(config) as dialog,
        PartChain({1: finished.quantized_parts()[1]}, finished.finished().config) as cpu,
    ):
        for prompt in ([39, 68, 75, 75, 78], [7]):
            tokens = [int(cpu.prefill(prompt).argmax())]
            while len(tokens) < 5:
                tokens.append(int(cpu.decode(tokens[-1]).argmax()))
            cpu.reset()
            assert list(dialog.query_tokens(prompt, max_tokens=5)) == tokens


def test_the_logits_are_those_of_the_head_with_its_layers(finished: LLMPipeline, tmp_path: Path):
    """Only the place of the cut differs, so the CPU computes the same."""
    own = LLMPipeline.from_recipe(recipe_with(tmp_path, num_splits=3), cache_dir=tmp_path / "cache")
    result = own.construct(RunOptions(executor="inline", until="quantize"))
    assert result.status == "done", result.failed
    with (
        PartChain(finished.quantized_parts(), finished.finished().config) as alone,
        PartChain(own.quantized_parts(), own.finished().config) as together,
    ):
        assert (alone.prefill([39, 68, 75, 75, 78]) == together.prefill([39, 68, 75, 75, 78])).all()


@pytest.mark.parametrize(
    ("num_splits", "message"),
    [
        (
            2,
            "num_splits 2 is too small for split_lm_head: the embedding, layers and lm_head are parts of their own\n"
            "  use at least 3, or set split_lm_head to false",
        ),
        (
            7,
            "num_splits 7 is too large: part 1 is the embedding, the last is lm_head, the rest share 2 layers, each in"
            " two halves\n  use at most 6",
        ),
    ],
)
def test_numbers_that_do_not_fit(num_splits: int, message: str, tmp_path: Path):
    recipe = recipe_with(tmp_path, num_splits=num_splits, split_lm_head=True)
    with pytest.raises(RecipeError) as raised:
        LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache").plan()
    assert str(raised.value).endswith(f"split_model.num_splits: {message}")
