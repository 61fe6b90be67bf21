"""The folders of the QAIRT notebooks, for scripts that expect them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError
from qairt.llm import LLMPipeline

INLINE = RunOptions(executor="inline")


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    path = write_recipe(tmp_path_factory.mktemp("workfolder"), backend="CPU", technique="minmax.yaml")
    return LLMPipeline.from_recipe(path, cache_dir=path.parent / "cache").construct(INLINE)


def test_the_tree_of_seed_001(cpu, tmp_path, capsys):
    folder = tmp_path / "work"
    recipe = str(cpu.recipe.source)
    assert main(["export", recipe, str(folder), "--layout", "workfolder", "--cache-dir", str(cpu.cache_dir)]) == 0
    assert f"{folder}: " in capsys.readouterr().out
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir()}
    parts = [f"models_ar_n/ar{ar}-cl32/{part}_of_3" for ar in (1, 8) for part in (1, 2, 3)]
    assert {f"models_ar_n/ar{ar}-cl32/onnx" for ar in (1, 8)} < found
    assert {f"{part}/{inner}" for part in parts for inner in ("onnx", "test_vectors", "compiled_model")} < found
    assert {part for part in parts if f"{part}/sha_output" in found} == {p for p in parts if not p.endswith("1_of_3")}
    assert not any("converted_model" in path or "serialized_binaries" in path for path in found)  # backend: CPU


def test_its_graphs_load_and_the_cache_stays_valid(cpu, tmp_path):
    files = cpu.export_workfolder(tmp_path / "work")
    assert all(file.resolve().is_file() for file in files)
    for file in [file for file in files if file.suffix == ".onnx"]:
        onnxruntime.InferenceSession(file)
    whole = tmp_path / "work/models_ar_n/ar8-cl32/onnx/ar8-cl32.onnx"
    session = onnxruntime.InferenceSession(whole)
    feeds = {i.name: np.zeros(i.shape, {"tensor(float)": "f4"}.get(i.type, "i4")) for i in session.get_inputs()}
    assert session.run(None, feeds)
    assert all(item.cached for stage in cpu.plan().stages for item in stage.items)
    shutil.rmtree(tmp_path / "work")
    assert cpu.construct(INLINE).executed == []


def test_an_unfinished_run_is_refused_and_leaves_nothing(cpu, tmp_path):
    path = Path(cpu.recipe.source)
    made = LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache")
    with pytest.raises(CacheError, match="it is not built yet|items of prepare_exports are not built yet"):
        made.export_workfolder(tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_workfolder_has_no_format(cpu, tmp_path, capsys):
    words = ["export", str(cpu.recipe.source), str(tmp_path / "work"), "--layout", "workfolder", "--format", "ort"]
    assert main(words) == 2
    assert "--format: --layout workfolder has no format\n  leave one of them out" in capsys.readouterr().err


@pytest.mark.compiler
def test_of_a_run_for_the_npu(tmp_path):
    path = write_recipe(tmp_path)
    made = LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache").construct()
    made.export_workfolder(tmp_path / "work")
    work = tmp_path / "work"
    assert len(list((work / "artifacts/serialized_binaries").glob("*.bin"))) == 3
    for folder in ("converted_model", "compiled_model"):
        assert len(list(work.glob(f"models_ar_n/ar*-cl32/*_of_3/{folder}/*.dlc"))) == 6
