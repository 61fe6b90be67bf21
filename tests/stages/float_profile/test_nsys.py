"""The `nsys` stage with a stand-in for nsys that checks its options, runs the given program and writes a file.

Nothing here shows how a real nsys behaves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from nsys_stand_in import install
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.errors import ToolchainNotAvailable
from qairt.llm import LLMPipeline
from qairt.stages.float_profile.nsys import NsysOutput
from qairt.stages.float_profile.record import Profile


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_recipe(tmp_path_factory.mktemp("nsys"), backend="CPU", technique="minmax.yaml")
    content = yaml.safe_load(path.read_text())
    settings = {"prompts": ["Hello"], "max_new_tokens": 3, "warmup": 0, "repeats": 1, "device": "cpu"}
    first, *others = content["stages"].items()
    content["stages"] = dict([first, ("nsys", settings), *others])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def opened(recipe: Path, cache: Path) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, cache_dir=cache)


def test_it_wraps_a_nested_run_with_torch_profiler_off(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")), prepend=":")
    pipeline = opened(recipe, tmp_path / "cache")
    result = pipeline.construct(RunOptions(executor="inline", until="nsys"))
    assert result.status == "done", result.failed
    (item,) = pipeline.plan().stages[1].items
    found = pipeline.cache.get(item.key, type(item.stage))
    assert isinstance(found, NsysOutput)
    seen = json.loads(found.report.read_text())
    assert seen["options"]["trace"] == "nvtx,osrt"
    assert seen["options"]["sample"] == "none"
    assert seen["program"][:4] == [sys.executable, "-P", "-m", "qairt.stages.float_profile.nsys_workload"]
    assert found.workload == found.report.parent / "tmp" / "workload" / "torch_profiler"
    profile = Profile.model_validate_json((found.workload / "profile.json").read_bytes())
    assert profile.profiled == []
    assert profile.prompts[0].tokens_per_s is not None
    assert not (found.workload / "trace.json.gz").exists()
    published = tmp_path / "cache" / "nsys"
    assert (published / "workload.nsys-rep").read_bytes() == found.report.read_bytes()
    (line,) = (published / "tmp" / "workload" / "torch_profiler" / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["prompt"] == "Hello"
    page = published / "tmp" / "workload" / "torch_profiler" / "predictions.md"
    assert "Hello" in page.read_text()
    assert (page.parent / "speed.svg").is_file()
    page.unlink()  # a hit leaves it too
    assert pipeline.construct(RunOptions(executor="inline", until="nsys")).executed == []
    assert page.is_file()


def test_nothing_depends_on_it(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")), prepend=":")
    old = {item.name: item.key for item in opened(recipe, tmp_path / "cache").plan().items}
    install(tmp_path / "bin", version="2026.1.1")
    new = {item.name: item.key for item in opened(recipe, tmp_path / "cache").plan().items}
    assert [name for name in old if old[name] != new[name]] == ["nsys all"]


def test_without_nsys_check_says_so(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainNotAvailable, match="nsys is not on PATH\n  install it from NVIDIA") as caught:
        opened(recipe, tmp_path / "cache").plan()
    assert caught.value.exit_code == 3
    assert "recipe.yaml:" in str(caught.value)


def test_an_nsys_that_cannot_be_run_has_its_own_message(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = install(tmp_path / "bin")
    (folder / "nsys").write_text("#!/bin/sh\nexit 7\n")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    with pytest.raises(ToolchainNotAvailable, match="cannot be run: .*exit status 7"):
        opened(recipe, tmp_path / "cache").plan()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"code": 3}, "the run under Nsight Systems exited with code 3"),
        ({"writes": False}, "Nsight Systems did not write workload.nsys-rep"),
    ],
)
def test_a_failure_under_it_is_the_item_s(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict, message: str
):
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin", **how)), prepend=":")
    result = opened(recipe, tmp_path / "cache").construct(RunOptions(executor="inline", until="nsys"))
    (failure,) = result.failed
    assert failure.what == message
    assert failure.remedy
    assert not (tmp_path / "cache" / "nsys").exists()
