"""The manifest after runs: it shows the recipe of the last one, with what is there and what the user set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toy_stages as toy
from toy_outputs import Speaker

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import register_stage
from qairt.llm import LLMPipeline

INLINE = RunOptions(jobs=1, memory=10**9, executor="inline")


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toys that are registered here are known here only."""
    monkeypatch.setattr("qairt.engine.stage._registry", {})


def pipeline(cache: Path, *, suffix: str = "") -> Pipeline:
    fan = toy.FanConfig(suffix=suffix) if suffix else toy.FanConfig()
    stages = [toy.Source(), toy.Fan(fan), toy.Join()]
    return Pipeline(stages, cache)


def run(made: Pipeline, until: str | None = None) -> dict[str, Any]:
    """Run all; returns the stages of the manifest."""
    options = RunOptions(jobs=1, memory=10**9, executor="inline", until=until)
    assert made.construct(options).status == "done"
    return made.manifest.read()["stages"]


def test_artifact_paths_and_keys_are_those_of_the_entries(tmp_path: Path):
    made = pipeline(tmp_path)
    stages = run(made)
    entries = {(entry.stage, entry.label): entry for entry in made.cache.entries()}
    assert list(stages) == ["source", "fan", "join"]
    for name in ("source", "join"):
        entry = entries[name, "all"]
        assert (stages[name]["artifact_path"], stages[name]["cache_key"]) == (str(entry.directory), entry.key)
        assert stages[name]["timestamp"] == entry.timestamp
    assert stages["fan"]["artifact_path"] == str(made.state_folder / "fan")
    for label, item in stages["fan"]["items"].items():
        entry = entries["fan", label]
        assert (item["artifact_path"], item["cache_key"]) == (str(entry.directory), entry.key)


def test_a_full_cache_shows_the_recipe_that_ran_last(tmp_path: Path):
    of_a = run(pipeline(tmp_path))
    of_b = run(pipeline(tmp_path, suffix="!"))
    assert of_b["fan"]["config"] == '{"suffix":"!"}'
    assert of_b["fan"]["cache_key"] != of_a["fan"]["cache_key"]
    assert run(pipeline(tmp_path)) == of_a
    assert run(pipeline(tmp_path, suffix="!"), until="fan") == {**of_b, "join": of_a["join"]}


@pytest.mark.parametrize("damage", ["{", None])
def test_it_is_rebuilt_by_a_run_that_makes_nothing(tmp_path: Path, damage: str | None):
    made = pipeline(tmp_path)
    whole = run(made)
    if damage is None:
        made.manifest.path.unlink()
    else:
        made.manifest.path.write_text(damage)
    assert run(pipeline(tmp_path)) == whole
    before = made.manifest.path.stat()
    run(pipeline(tmp_path))
    assert made.manifest.path.stat().st_mtime_ns == before.st_mtime_ns


RECIPE = """
cache_dir: {cache}
{more}
stages:
  source: {{text: hi, output: {{visualization: {{enable: false}}}}}}
  {also}
  fan: {fan}
  join: {{}}
"""


def recipe(folder: Path, *, more: str = "", also: str = "", fan: str = "{}") -> LLMPipeline:
    for stage in (toy.Source, toy.Fan, toy.Join, Speaker):
        register_stage(stage)
    path = folder / "toy.yaml"
    path.write_text(RECIPE.format(cache=folder / "cache", more=more, also=also, fan=fan))
    return LLMPipeline.from_recipe(path)


def test_config_holds_what_the_recipe_sets_and_nothing_that_presets_add(tmp_path: Path):
    made = recipe(tmp_path, also="speaker: {}")
    assert made.stages.speaker.output.prediction.save_dir == "pred"  # of the preset
    stages = run(made)
    assert json.loads(stages["source"]["config"]) == {"text": "hi", "output": {"visualization": {"enable": False}}}
    assert stages["fan"]["config"] == stages["speaker"]["config"] == "{}"
    made.stages.speaker.output.prediction.save_dir = "elsewhere"
    assert json.loads(run(made)["speaker"]["config"]) == {"output": {"prediction": {"save_dir": "elsewhere"}}}


@pytest.mark.parametrize(
    ("more", "fan", "kept", "again"),
    [
        ("enable_cache: false", "{}", {"join"}, {"source", "fan", "join"}),
        ("enable_cache: false", "{enable_cache: true}", {"fan", "join"}, {"source", "join"}),
        ("enable_cache: false", "{checkpoint: true}", {"fan", "join"}, {"source", "fan", "join"}),
        ("enable_cache: false\ncheckpoint: true", "{}", {"source", "fan", "join"}, {"source", "fan", "join"}),
        ("", "{enable_cache: false}", {"source", "join"}, {"fan"}),
        ("enable_cache: true", "{checkpoint: false}", {"source", "fan", "join"}, set()),
    ],
)
def test_enable_cache_and_checkpoint_hold(tmp_path: Path, more: str, fan: str, kept: set[str], again: set[str]):
    for round in range(2):
        made = recipe(tmp_path, more=more, fan=fan)
        planned = {item.stage.name: item.reason for item in made.plan().to_run()}
        assert set(planned) == (again if round else {"source", "fan", "join"})
        result = made.construct(INLINE)
        assert {name.split()[0] for name in result.executed} == set(planned)
        stages = made.manifest.read()["stages"]
        assert {name for name in stages if stages[name]["artifact_path"] is not None} == kept
        assert {entry.stage for entry in made.cache.entries()} == kept
        items = stages["fan"]["items"].values()
        assert [item["artifact_path"] is not None for item in items] == ["fan" in kept] * 2
        assert made.finished().items("join")[0].entry is not None
    assert {planned[name] for name in again} <= {"enable_cache is false"}


def test_no_entry_that_was_there_before_is_deleted(tmp_path: Path):
    run(recipe(tmp_path))
    run(recipe(tmp_path, fan="{enable_cache: false}"))
    assert recipe(tmp_path).plan().to_run() == []
