"""Which stored answers an evaluation takes for its own, and how long an answer may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.engine import libraries
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline

GENERATION = {
    "name": "generation",
    "prompts": [{"prompt": "Hello", "expected": "x"}],
    "max_new_tokens": 100,
    "chat": False,
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Of the float model alone."""
    path = write_recipe(tmp_path)
    settings = yaml.safe_load(path.read_text())
    settings |= {"stages": {"model_loading": {}}, "evaluator": {"metrics": [GENERATION]}}
    path.write_text(yaml.safe_dump(settings))
    LLMPipeline.from_recipe(path).construct(RunOptions(executor="inline"))
    return path


def stored(recipe: Path, *overrides: str) -> dict[str, list[str]]:
    """Evaluate; every answer that is stored since, by the file of a model and target."""
    pipeline = LLMPipeline.from_recipe(recipe, list(overrides))
    pipeline.evaluate("torch")
    files = sorted((pipeline.state_folder / "evaluate").glob("*.jsonl"))
    return {
        file.name: [json.loads(line)["found"]["answer"] for line in file.read_text().splitlines()] for file in files
    }


def test_an_answer_that_a_shorter_context_cuts_is_another_one(recipe):
    (once,) = stored(recipe).values()
    assert [*stored(recipe).values()] == [once], "nothing is answered twice"
    (both,) = stored(recipe, "generator.context_length=12").values()
    whole, cut = both
    assert whole == once[0]
    assert whole.startswith(cut)
    assert len(cut) == 12 - len("Hello") + 1, "a token is a letter, and the last is not read"


def test_another_torch_answers_anew(recipe, monkeypatch):
    assert len(stored(recipe)) == 1
    own = libraries._version
    monkeypatch.setattr(libraries, "_version", lambda package: "99.1.0" if package == "torch" else own(package))
    assert len(stored(recipe)) == 2


@pytest.mark.parametrize(
    ("overrides", "length"),
    [
        (["generator.context_length=null"], 64),  # of the model
        (["generator.context_length=20"], 20),
        (["stages.prepare_exports.context_length=[16,32]"], 32),
        (["stages.prepare_exports.context_length=[16,32]", "generator.context_length=16"], 16),
    ],
)
def test_the_float_model_has_the_context_that_the_recipe_generates_with(recipe, overrides, length):
    if "prepare_exports" in overrides[0]:
        write_recipe(recipe.parent)  # with the stages that build graphs, in the same cache
    with LLMPipeline.from_recipe(recipe, overrides).generator("torch") as generator:
        assert generator.context_length == length
