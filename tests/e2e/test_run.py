"""A two-layer model through every stage with the real compiler, and what runs again after each change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.bundle.check.bundle import check_bundle
from qairt.engine.cache.store import Store
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError
from qairt.files import sha256_of
from qairt.graph.weights_file import ALIGNMENT
from qairt.llm import LLMPipeline
from qairt.stages.convert import FloatDlc
from qairt.stages.split_model import parts_of
from qairt.toolchain.qnn.inspection import inspect

pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def finished(recipe: Path) -> LLMPipeline:
    made = opened(recipe)
    result = made.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return made


def opened(recipe: Path, *changes: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, changes, cache_dir=recipe.parent / "cache")


def would_run(recipe: Path, *changes: str) -> list[str]:
    return [item.name for item in opened(recipe, *changes).plan().to_run()]


def test_the_bundle_is_complete_and_says_what_is_in_it(finished: LLMPipeline):
    folder = finished.cache_dir / "export_bundle"
    names = {path.name for path in folder.iterdir()}
    assert {f"weight_sharing_model_{part}_of_3.serialized.bin" for part in (1, 2, 3)} <= names
    assert {"genie_config.json", "htp_backend_ext_config.json", "run_genie.sh"} <= names
    assert {"tokenizer.json", "chat_template.jinja", "metadata.yaml", "SHA256SUMS"} <= names
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert metadata["soc"] == {"name": "SM8650", "id": 57, "htp": 75, "vtcm_mb": 8}
    assert [(graph["part"], graph["ar"]) for graph in metadata["graphs"]] == [
        (1, 1), (1, 8), (2, 1), (2, 8), (3, 1), (3, 8),
    ]  # fmt: skip
    key = next(t for t in metadata["graphs"][3]["inputs"] if t["name"] == "past_key_0_in")
    assert key == {
        "name": "past_key_0_in",
        "dtype": "uint8",
        "shape": [2, 1, 16, 24],
        "scale": key["scale"],
        "offset": -128,
    }
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert sha256_of(folder / name) == digest


def test_both_bundles_come_from_one_run(recipe: Path, finished: LLMPipeline, tmp_path: Path):
    before = [entry.key for entry in finished.cache.entries()]
    for form in ("genie", "ort", None):
        files = finished.export(tmp_path / str(form), form)
        assert all(path.stat().st_nlink == 1 for path in files), "shared with the cache"
        assert [found.text for found in check_bundle(tmp_path / str(form)) if found.status != "ok"] == []
    wrappers = {f"ar{ar}_cl32_{part}_of_3_ctx.onnx" for ar in (1, 8) for part in (1, 2, 3)}
    names = {form: {path.name for path in (tmp_path / form).iterdir()} for form in ("genie", "ort", "None")}
    assert wrappers | {"genai_config.json", "run_ort.py"} <= names["ort"]
    assert not wrappers & names["genie"]
    assert names["None"] == names["genie"], "the recipe's own"
    assert [entry.key for entry in finished.cache.entries()] == before, "nothing ran again"
    assert would_run(recipe) == []
    assert would_run(recipe, "stages.export_bundle.format=ort") == ["export_bundle all"]


@pytest.mark.parametrize(
    ("stage", "pattern"), [("generate_context_binary", "*_ctx.onnx"), ("model_loading", "model.json")]
)
def test_a_result_that_is_damaged_is_named_before_the_other_format_is_made(
    recipe: Path, finished: LLMPipeline, tmp_path: Path, stage: str, pattern: str
):
    shutil.copytree(finished.cache_dir, tmp_path / "cache")
    own = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    path = next(own.state_folder.glob(f"{stage}/*/{pattern}"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CacheError, match=rf"{stage} \S+: it is damaged and was set aside\n  qairt run .*recipe.yaml"):
        own.export(tmp_path / "out", "ort")
    assert not (tmp_path / "out").exists()


def test_both_lengths_are_in_each_binary(finished: LLMPipeline):
    for part in (1, 2, 3):
        found = inspect(finished.cache_dir / "export_bundle" / f"weight_sharing_model_{part}_of_3.serialized.bin")
        assert sorted(graph.name.lstrip("_") for graph in found.graphs) == [f"ar{ar}_cl32_{part}_of_3" for ar in (1, 8)]
        assert found.soc_model == 57


def test_a_second_run_does_nothing(recipe: Path, finished: LLMPipeline):
    result = opened(recipe).construct()
    assert result.status == "done"
    assert result.executed == []


def test_it_generates_from_the_quantized_graphs(finished: LLMPipeline):
    with finished.generator("cpu") as generator:
        one = finished.answer(generator, "Hi", max_new_tokens=6).result
        two = finished.answer(generator, "Hi", max_new_tokens=6).result
    assert len(one.tokens) == 6
    assert one.tokens == two.tokens


def test_the_bytes_of_weights_are_stored_once(finished: LLMPipeline):
    written = list(finished.state_folder.rglob("weights.bin"))
    assert len(written) == 2 * 3 + 2 * 2, "of parts before and after their heads are split"
    files = {path.stat().st_ino: path.stat().st_size for path in written}
    assert len(files) == 3
    weights = sum(part.weight_bytes for part in parts_of(finished.finished().env))
    assert weights <= sum(files.values()) < weights + 100 * ALIGNMENT
    quantized = list((finished.state_folder / "quantize").rglob("quantized_weights.bin"))
    assert len(quantized) == 6
    assert len({path.stat().st_ino for path in quantized}) == 3


def test_integers_in_the_quantized_graph_are_those_of_the_encodings(finished: LLMPipeline):
    import onnx_ir as ir

    from qairt.graph import files
    from qairt.graph.weights_file import read
    from qairt.quant.encodings_json import read_encodings

    plan = finished.plan()
    name = "model.layers.0.mlp.down_proj.weight"
    sources = {
        item.label: item for stage in plan.stages for item in stage.items if stage.stage.name in ("split_model",)
    }
    split = finished.cache.get(sources["ar1-split2"].key, type(sources["ar1-split2"].stage))
    quantized = next(item for stage in plan.stages for item in stage.items if item.name == "quantize ar1-split2")
    output = finished.cache.get(quantized.key, type(quantized.stage))
    encoding = read_encodings(split.encodings.read_text()).params[name]
    weight = read(files.load(split.onnx).graph.initializers[name].const_value)
    stored = files.load(output.quantized_onnx).graph.initializers[name].const_value
    assert stored.dtype == ir.DataType.INT4
    packed = np.memmap(stored.path, np.uint8, "r", stored.offset, (stored.length,))
    low, high = (packed & 15).astype(np.int8), (packed >> 4).astype(np.int8)
    integers = np.stack([low, high], 1).reshape(weight.shape)
    integers = np.where(integers > 7, integers - 16, integers)
    np.testing.assert_array_equal(integers + 8, encoding.quantize(np.asarray(weight)))


AFTER_SPLIT = [
    "mha_to_sha_conversion ar{ar}-split2",
    "mha_to_sha_conversion ar{ar}-split3",
    "quantize ar{ar}-split1",
    "quantize ar{ar}-split2",
    "quantize ar{ar}-split3",
]
LINKS = [f"generate_context_binary split{part}" for part in (1, 2, 3)]


def test_another_chip_compiles_again_and_nothing_else(recipe: Path, finished: LLMPipeline):
    assert would_run(recipe, "soc_details=chipset:SM8750") == [*LINKS, "export_bundle all"]


def test_another_length_makes_its_own_items_and_the_binaries(recipe: Path, finished: LLMPipeline):
    items = would_run(recipe, "stages.prepare_exports.arn=[1, 8, 4]")
    own = ["prepare_exports ar4", *(f"split_model ar4-split{part}" for part in (1, 2, 3))]
    own += [name.format(ar=4) for name in AFTER_SPLIT]
    assert sorted(items) == sorted([*own, *LINKS, "export_bundle all"])


def test_another_number_of_parts_is_named_as_the_setting(recipe: Path, finished: LLMPipeline):
    made = opened(recipe, "stages.split_model.num_splits=2").plan()
    reasons = {item.name: item.reason for item in made.to_run()}
    told = "stages.split_model.num_splits 3 → 2"
    assert reasons["split_model ar1-split2"] == told
    assert reasons["quantize ar1-split2"].endswith(told)
    assert reasons["generate_context_binary split1"] == told


def test_another_number_of_parts_runs_from_the_split_on(recipe: Path, finished: LLMPipeline):
    items = would_run(recipe, "stages.split_model.num_splits=2")
    stages = {name.split()[0] for name in items}
    assert stages == {
        "split_model", "mha_to_sha_conversion", "quantize", "generate_context_binary", "export_bundle",
    }  # fmt: skip
    assert len(items) == 4 + 2 + 4 + 2 + 1


def test_a_technique_setting_runs_from_quantization_on(recipe: Path, finished: LLMPipeline):
    made = opened(recipe, "stages.quantization.technique={block_size: 32}")
    items = made.plan().to_run()
    assert items[0].name == "quantization all"
    assert items[0].reason == "quantization.technique.block_size 64 → 32"
    assert items[-1].reason == "generate_context_binary split1 changed: quantization.technique.block_size 64 → 32"
    assert len(items) == sum(not item.on_demand for item in made.plan().items) - 1


def test_compiler_effort_compiles_again_and_nothing_else(recipe: Path, finished: LLMPipeline):
    items = would_run(recipe, "stages.generate_context_binary.optimization_level=1")
    assert items == [*LINKS, "export_bundle all"]


def test_one_parts_override_runs_that_part(recipe: Path, finished: LLMPipeline):
    override = "stages.generate_context_binary.overrides=[{where: {split: 2}, set: {optimization_level: 1}}]"
    assert would_run(recipe, override) == ["generate_context_binary split2", "export_bundle all"]


def test_metrics_and_manifest_name_every_stage(finished: LLMPipeline):
    metrics = json.loads((finished.state_folder / "metrics.json").read_text())
    manifest = finished.manifest.read()["stages"]
    assert set(metrics) == set(manifest) == set(finished.stage_names()) - {"convert"}
    assert metrics["quantize"]["items"] == 6


def test_float_dlcs_are_made_when_they_are_asked_for(recipe: Path, finished: LLMPipeline, tmp_path: Path):
    planned = next(stage for stage in finished.plan().stages if stage.stage.name == "convert")
    assert planned.artifacts == {"DLC": 6}
    assert {item.reason for item in planned.items} == {"on demand: no item reads it"}
    shutil.copytree(finished.cache_dir, tmp_path / "cache", symlinks=True)
    own = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    run = own.finished()
    (first, *others) = run.items("convert")
    assert [item.entry is not None for item in (first, *others)] == [True] * 6
    assert [path.name for path in run.output(first, FloatDlc).paths()] == ["ar1-cl32_1_of_3.dlc"]
    assert sum(1 for _ in own.cache.entries("convert")) == 6
    store = Store(own.cache_dir)
    store.clear(store.entries("convert"))
    again = [item for item in own.plan().items if item.stage.name == "convert"]
    assert [(item.on_demand, item.cleared) for item in again] == [(True, None)] * 6
    assert opened(recipe, "stages.convert.keep=all").plan().to_run()[0].name == "convert ar1-split1"
    forced = finished.plan(RunOptions(force=frozenset({"convert"}))).to_run()
    assert [item.stage.name for item in forced] == ["convert"] * 6


def test_editing_the_bundle_does_not_reach_into_the_cache(recipe: Path, finished: LLMPipeline):
    metadata = finished.cache_dir / "export_bundle" / "metadata.yaml"
    metadata.write_text("edited")
    assert all(entry.altered() is None for entry in finished.cache.entries("export_bundle"))
