"""`LLMPipeline` as a program uses it: settings in memory, results as attributes, one answer."""

from __future__ import annotations

import copy
import shutil
from enum import Enum
from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError, GraphError, RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe
from qairt.recipe.files import shipped_recipes
from qairt.stages.split_model import SplitModel


class Level(str, Enum):  # noqa: UP042 - as Olive has it
    ERROR = "ERROR"


INLINE = RunOptions(executor="inline")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_recipe(tmp_path_factory.mktemp("llm"), backend="CPU", technique="own.yaml")
    shutil.copy(shipped_recipes() / "quantization/lpbq_mse.yaml", path.with_name("own.yaml"))
    return path


@pytest.fixture(scope="module")
def constructed(recipe: Path) -> LLMPipeline:
    """From a plain dict, as the vendor's clients make it."""
    settings = dict(Recipe.from_file(recipe))
    settings["cache_dir"] = str(recipe.parent / "cache")
    settings["log_level"] = Level.ERROR
    return LLMPipeline.from_pretrained(str(recipe.parent / "model"), recipe=settings).construct(INLINE)


def test_construct_gives_the_pipeline_with_its_results(constructed, recipe):
    assert constructed.status == "done"
    assert constructed.failed == []
    assert constructed.failed_outputs == []
    assert "quantize ar8-split2" in constructed.executed
    assert constructed.run_id in {folder.name for folder in (recipe.parent / "cache/pipeline_state/runs").iterdir()}
    assert constructed.output is not None
    assert constructed.result is constructed.last_run
    kept = Recipe.from_file(recipe.parent / "cache/pipeline_state/recipe.yaml")
    assert kept["log_level"] == "ERROR"


def test_before_it_there_are_none(recipe):
    made = LLMPipeline.from_pretrained("org/model", recipe)
    assert made.result is None
    with pytest.raises(AttributeError, match=r"this pipeline has not run yet: call construct\(\) first"):
        _ = made.status


def test_files_beside_the_recipe_are_found_from_its_plain_settings(constructed, recipe):
    assert constructed.stages.quantization.recipe == str(recipe.with_name("own.yaml"))
    assert constructed.recipe.where("stages.split_model.num_splits").startswith(f"{recipe}:")


def test_generate_gives_the_whole_answer_and_prints_it(constructed, capsys):
    result = constructed.generate("Hi", max_new_tokens=4)
    assert len(result.tokens) == 4
    result.print()
    assert capsys.readouterr().out == f"{result.text}\n"
    assert constructed.generate("Hi", target="torch", max_new_tokens=4).prompt_tokens == result.prompt_tokens


@pytest.mark.parametrize(("most", "calls"), [(None, [8, 8]), (8, [8, 8]), (7, [1] * 12)])
def test_sequence_length_bounds_the_tokens_of_a_call(constructed, recipe, monkeypatch, most, calls):
    from qairt.runtime.chain import PartChain

    seen: list[int] = []
    real = PartChain._call
    monkeypatch.setattr(PartChain, "_call", lambda self, ar, ids: (seen.append(ar), real(self, ar, ids))[1])
    settings = dict(Recipe.from_file(recipe)) | {"generator_config": {"sequence_length": most}}
    made = LLMPipeline.from_pretrained(recipe.parent / "model", settings, cache_dir=recipe.parent / "cache")
    made.generate("twelve token", max_new_tokens=1, chat=False)
    assert seen == calls


def test_a_sequence_length_below_every_graph(constructed, recipe):
    settings = dict(Recipe.from_file(recipe)) | {"generator": {"sequence_length": 0}}
    with pytest.raises(RecipeError, match="generator.sequence_length: input should be greater than 0"):
        LLMPipeline.from_pretrained(recipe.parent / "model", settings)


@pytest.mark.parametrize("form", ["dict", "recipe", "safe_load"])
def test_the_given_settings_are_not_changed(recipe, form):
    loaded = Recipe.from_file(recipe)
    given = {"dict": dict(loaded), "recipe": loaded, "safe_load": yaml.safe_load(recipe.read_text())}[form]
    before = copy.deepcopy(dict(given))
    made = LLMPipeline.from_pretrained("org/model", recipe=given)
    assert dict(given) == before
    assert made.recipe["model_id_or_path"] == "org/model"


def test_a_shipped_recipe_by_its_name(tmp_path):
    made = LLMPipeline.from_pretrained("org/model", recipe="smollm2-135m", cache_dir=tmp_path)
    assert made.recipe.source == shipped_recipes() / "smollm2-135m.yaml"
    with pytest.raises(RecipeError, match="did you mean smollm2-135m, which comes with qairt"):
        LLMPipeline.from_pretrained("org/model", recipe="smollm2-135")


def test_plain_settings_dump_as_plain_yaml(recipe, tmp_path):
    settings = dict(Recipe.from_file(recipe))
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings
    Recipe(settings).to_yaml(tmp_path / "again.yaml")
    assert Recipe.from_file(tmp_path / "again.yaml") == settings


def test_after_a_failed_run_what_is_missing_names_the_failure(tmp_path, monkeypatch):
    def fails(self, task, context):
        raise GraphError("the graph has a hole", where="node_7", remedy="mend it")

    monkeypatch.setattr(SplitModel, "run", fails)
    made = LLMPipeline.from_recipe(write_recipe(tmp_path, backend="CPU"), cache_dir=tmp_path / "cache")
    made.construct(INLINE)
    assert made.status == "failed"
    with pytest.raises(CacheError) as error:
        made.generate("Hi")
    assert ", because node_7 failed: the graph has a hole\n  mend it" in str(error.value)
    assert error.value.__cause__ is made.failed[0]
