"""The files for the SDK's LoRA importer, of a whole run: its commands accept them, and each concurrency's values and
encodings in a graph are those of that concurrency."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import importer_tools
import numpy as np
import pytest
import yaml
from adapted_recipe import write_adapted_recipe
from safetensors.numpy import load_file
from tiny_graphs import run as run_graph

from qairt.cli.main import main
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import PipelinePerformanceWarning
from qairt.graph.part_vectors import read
from qairt.llm import LLMPipeline
from qairt.quant.encodings_json import read_encodings
from qairt.results.concurrency import float_branches
from qairt.stages.facts import model_of, open_quantized
from qairt.stages.quantization import Quantized
from qairt.stages.split_model import SplitPart

NAMES = ["base", "french", "both"]
GRAPHS = [f"ar{ar}-cl32_{part}_of_3" for ar in (1, 8) for part in (2, 3)]
INLINE = RunOptions(executor="inline")


def adapted(folder: Path, mode: str, *, single_heads: bool = True) -> LLMPipeline:
    path = write_adapted_recipe(folder, backend="CPU", technique="minmax.yaml", std=0.15)
    content = yaml.safe_load(path.read_text())
    content["lora"]["quant_updatable_mode"] = mode
    if not single_heads:
        del content["stages"]["mha_to_sha_conversion"]
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return LLMPipeline.from_recipe(path, cache_dir=folder / "cache")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    made = adapted(tmp_path_factory.mktemp("importer"), "all").construct(INLINE)
    assert made.status == "done", made.failed
    return made


@pytest.fixture(scope="module")
def folder(pipeline: LLMPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("files") / "lora"
    words = ["export", str(pipeline.recipe.source), str(target), "--layout", "lora"]
    assert main([*words, "--cache-dir", str(pipeline.cache_dir)]) == 0
    return target


def test_a_folder_for_each_graph_that_has_branches(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == GRAPHS
    every = [*(f"{name}.{kind}" for name in NAMES for kind in ("encodings", "safetensors"))]
    others = ["branches.bin", "heads.bin", "import.sh", "input_list.txt", "lora_config.yaml", "lora_weight_list.txt"]
    for graph in GRAPHS:
        found = {path.name for path in (folder / graph).iterdir()}
        assert found == {*every, *others, f"{graph}.onnx", "raw", "weights.bin"}
    assert all(path.stat().st_nlink == 1 and not path.is_symlink() for path in folder.rglob("*") if path.is_file())


def imported(folder: Path, tools: Path) -> list[str]:
    """The use cases that a graph's commands end with."""
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run([folder / "import.sh"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load((folder / "imported" / "lora_output_files.yaml").read_text())
    return [each["name"] for each in made["use_case"]]


def test_the_commands_accept_the_files(folder: Path, tmp_path: Path):
    tools = importer_tools.install(tmp_path / "bin")
    for graph in (GRAPHS[0], GRAPHS[-1]):
        assert imported(folder / graph, tools) == NAMES
        assert (folder / graph / f"{graph}_quantized.dlc").is_file()


def test_heads_may_stay_together(tmp_path: Path):
    with pytest.warns(PipelinePerformanceWarning):
        made = adapted(tmp_path, "adapter_only", single_heads=False)
    made.construct(INLINE)
    files = made.export_importer_files(tmp_path / "lora")
    assert {path.parent.name for path in files if path.suffix == ".onnx"} == set(GRAPHS)
    assert imported(tmp_path / "lora" / GRAPHS[0], importer_tools.install(tmp_path / "bin")) == NAMES
    assert "lora_0_q_proj_b\n" in (tmp_path / "lora" / GRAPHS[0] / "lora_weight_list.txt").read_text()


def test_a_graph_with_the_values_of_a_concurrency_is_the_model_with_that_concurrency(
    pipeline: LLMPipeline, folder: Path
):
    run = pipeline.finished()
    quantized = run.only_output("quantization", Quantized)
    parameters = open_quantized(model_of(run.env).source, run.config, None, quantized.rotation)
    parts = {}
    for item in run.items("split_model"):
        output = run.output(item, SplitPart)
        parts[output.onnx.stem] = output
    for graph in GRAPHS:
        tensors, answers = read(parts[graph].test_vectors).inputs, {}
        for name in NAMES:
            wanted = run_graph(parts[graph].onnx, {**tensors, **float_branches(run, name, parameters)})
            found = run_graph(
                folder / graph / f"{graph}.onnx", tensors, load_file(folder / graph / f"{name}.safetensors")
            )
            assert found.keys() == wanted.keys()
            for key, value in wanted.items():
                np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-4 * np.abs(value).max(), err_msg=key)
            answers[name] = wanted["logits" if graph.endswith("3_of_3") else "hidden_1"]
        assert not np.allclose(answers["french"], answers["base"], rtol=1e-2)
        assert not np.allclose(answers["french"], answers["both"], rtol=1e-2)


def test_encodings_are_those_of_the_concurrency(pipeline: LLMPipeline, folder: Path):
    run = pipeline.finished()
    own = run.only_output("quantization", Quantized).own_encodings
    for name in NAMES:
        wanted = read_encodings(own[name].read_text()).activations
        shared = read_encodings(run.only_output("quantization", Quantized).encodings.read_text()).activations
        found = read_encodings((folder / "ar8-cl32_2_of_3" / f"{name}.encodings").read_text())
        assert found.activations["layers.0.attn.probs.h3"].same_grid(wanted["layers.0.attn.probs"])
        assert found.activations["hidden_1"].same_grid(wanted["hidden_1"])
        assert found.params["lora_0_q_proj_b.h1"].same_grid(wanted["lora_0_q_proj_b"])
        # the embedding, which no concurrency changes, writes it
        assert found.activations["hidden_0"].same_grid(shared["hidden_0"])
    grids = {json.dumps(scale_of(folder, name, "hidden_1")) for name in NAMES}
    assert len(grids) == 3


@pytest.mark.parametrize(
    ("changes", "setting", "what", "remedy"),
    [
        (
            {"quant_updatable_mode": "none"},
            "quant_updatable_mode:",
            "all concurrencies share one set of encodings, so the importer would change none",
            "set lora.quant_updatable_mode to adapter_only or all, and run again",
        ),
        (
            {"form": "hot_switch"},
            "form:",
            "with form hot_switch the graphs hold every adapter, and the importer replaces adapters",
            "set lora.form to inputs, and run again",
        ),
        ({}, None, "the recipe has no LoRA concurrencies", "name adapters and concurrencies in lora"),
    ],
)
def test_what_the_importer_is_not_for_is_refused_by_name(pipeline, tmp_path, capsys, changes, setting, what, remedy):
    content = yaml.safe_load(Path(pipeline.recipe.source).read_text())
    content["lora"].update(changes)
    if not changes:
        del content["lora"]
    path = pipeline.recipe.source.with_name("other.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    words = ["export", str(path), str(tmp_path / "lora"), "--layout", "lora", "--cache-dir", str(pipeline.cache_dir)]
    assert main(words) == 2
    lines = path.read_text().splitlines()
    line = next((f":{number}" for number, text in enumerate(lines, 1) if setting and setting in text), "")
    assert " ".join(capsys.readouterr().err.split()) == f"Error: {path}{line}: {what} {remedy}"
    assert not (tmp_path / "lora").exists()


def test_it_has_no_format(pipeline, tmp_path, capsys):
    words = ["export", str(pipeline.recipe.source), str(tmp_path / "lora"), "--layout", "lora", "--format", "ort"]
    assert main(words) == 2
    assert "--format: --layout lora has no format\n  leave one of them out" in capsys.readouterr().err


def scale_of(folder: Path, name: str, tensor: str) -> list[float]:
    content = json.loads((folder / "ar8-cl32_2_of_3" / f"{name}.encodings").read_text())
    return next(entry["scale"] for entry in content["activation_encodings"] if entry["name"] == tensor)
