"""The DLCs of a run, for the programs of the QAIRT SDK."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline

INLINE = RunOptions(executor="inline")


@pytest.mark.compiler
def test_float_ones_are_made_when_they_are_asked_for(tmp_path, capsys):
    path = write_recipe(tmp_path / "recipe")
    content = yaml.safe_load(path.read_text())
    content["stages"]["generate_context_binary"]["emulate"] = "none"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache").construct(INLINE)
    assert not list((tmp_path / "cache" / "pipeline_state").glob("convert/*/*.dlc"))
    folder = tmp_path / "dlcs"
    assert main(["export", str(path), str(folder), "--layout", "dlc", "--cache-dir", str(pipeline.cache_dir)]) == 0
    assert f"{folder}: 12 files" in capsys.readouterr().out
    names = {f"ar{ar}-cl32_{part}_of_3.dlc" for ar in (1, 8) for part in (1, 2, 3)}
    assert {file.name for file in (folder / "float").iterdir()} == names
    assert {file.name.replace("_quantized", "") for file in (folder / "quantized").iterdir()} == names
    assert all(file.stat().st_nlink == 1 for file in folder.rglob("*.dlc"))  # copies: the cache is not touched
    assert {file.read_bytes()[:2] for file in folder.rglob("*.dlc")} == {b"PK"}


def test_without_the_npu_there_are_none(tmp_path):
    path = write_recipe(tmp_path / "recipe", backend="CPU", technique="minmax.yaml")
    with pytest.raises(RecipeError, match="with backend CPU there are no DLCs"):
        LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache").export_dlcs(Path("dlcs"))
