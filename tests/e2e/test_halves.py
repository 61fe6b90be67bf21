"""A model of two layers in five parts: attention and MLP of each are binaries of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from adapted_recipe import write_adapted_recipe
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline

pytestmark = pytest.mark.compiler


def in_halves(recipe: Path, until: str) -> LLMPipeline:
    content = yaml.safe_load(recipe.read_text())
    content["stages"]["split_model"]["num_splits"] = 5
    del content["stages"]["convert"]
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    made = LLMPipeline.from_recipe(recipe, cache_dir=recipe.parent / "cache")
    result = made.construct(RunOptions(executor="inline", until=until))
    assert result.status == "done", result.failed
    return made


def test_they_are_right_on_every_rung_and_in_genie(tmp_path: Path):
    made = in_halves(
        write_recipe(tmp_path, technique="lpbq.yaml", hidden_size=128, intermediate_size=192), "export_bundle"
    )
    found = made.verify()
    assert found.passes
    by_rung = {rung.rung: rung for rung in found.rungs}
    assert {"split_model", "mha_to_sha_conversion", "quantize", "htp_emulator"} <= by_rung.keys()
    for name in ("split_model", "mha_to_sha_conversion"):
        halves = [output for output in by_rung[name].outputs if output.output.startswith("attended_")]
        assert {output.part for output in halves} == {2, 4}
        assert min(output.sqnr_db for output in halves) > 100
    chained = made.generate("The quick", max_new_tokens=4)
    assert made.generate("The quick", max_new_tokens=4, target="genie").text == chained.text


@pytest.mark.parametrize("form", ["inputs", "hot_switch"])
def test_lora_branches_go_with_their_halves(tmp_path: Path, form: str):
    """`split_model` compares each half with the float model, its branches on."""
    made = in_halves(write_adapted_recipe(tmp_path, form=form), "mha_to_sha_conversion")
    assert made.verify("split_model", concurrency="french").passes
