"""The registry of quantization techniques, under its documented names."""

from __future__ import annotations

import pytest
from tiny_recipe import write_recipe

from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.quant.config import TechniqueConfig
from qairt.recipe import files
from qairt.recipe.files import shipped_recipes
from qairt.stages.technique_registry import RecipeRegistry


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    monkeypatch.setattr(files, "REGISTERED", files.REGISTERED)
    yield
    files.REGISTERED.clear()


def test_the_shipped_ones(tmp_path):
    listed = {entry["name"]: entry for entry in RecipeRegistry.list_recipes()}
    assert set(listed) == {path.stem for path in (shipped_recipes() / "quantization").glob("*.yaml")}
    assert listed["minmax"]["result_type"] == "minmax"
    assert all(entry["description"] for entry in listed.values())
    assert RecipeRegistry.get("lpbq_mse") is TechniqueConfig
    assert RecipeRegistry.get_default_config("lpbq_mse") == shipped_recipes() / "quantization/lpbq_mse.yaml"


def test_a_registered_one_can_be_used_by_any_recipe(tmp_path):
    mine = tmp_path / "elsewhere/careful.yaml"
    mine.parent.mkdir()
    mine.write_text("# Small blocks.\ntechnique: lpbq\nblock_size: 16\n")
    RecipeRegistry.register("careful", default_config=mine)
    RecipeRegistry.register("careful", TechniqueConfig, mine)  # again: no change
    assert {"name": "careful", "result_type": "lpbq", "description": "Small blocks."} in RecipeRegistry.list_recipes()
    path = write_recipe(tmp_path / "recipe", technique="careful.yaml")
    assert LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache").stages.quantization.recipe == str(mine)


def test_what_cannot_be_registered(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("technique: lpbq\nblocks: 16\n")
    with pytest.raises(RecipeError, match="mine.yaml:2: blocks is not a setting"):
        RecipeRegistry.register("mine", default_config=mine)
    mine.write_text("technique: lpbq\n")
    with pytest.raises(RecipeError, match="minmax: a technique has this name already\n  choose another name"):
        RecipeRegistry.register("minmax", default_config=mine)
    with pytest.raises(RecipeError, match="mine: the technique mine has no file\n  give default_config"):
        RecipeRegistry.register("mine")
    with pytest.raises(TypeError, match="a technique here is a file of settings"):
        RecipeRegistry.register("mine", int, mine)
    for ask in (RecipeRegistry.get, RecipeRegistry.get_default_config):
        with pytest.raises(ValueError, match="lpbq_sqmse: there is no such technique\n  did you mean lpbq_seqmse?"):
            ask("lpbq_sqmse")
