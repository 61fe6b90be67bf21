"""A recipe with `toolchain: sdk` from end to end, with programs of ours in the place of the SDK's tools: they check
what they are called with and write real artifacts. Nothing here shows what the vendor's tools do with them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sdk_stand_in import VERSION, calls, install, let_fail
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.toolchain.qnn.inspection import inspect

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.filterwarnings("ignore:the SDK's converter runs on Python:UserWarning"),
]

STAGES = ("convert", "quantize", "generate_context_binary")
SDK = tuple(f"stages.{stage}.toolchain=sdk" for stage in STAGES)


@pytest.fixture(scope="module", autouse=True)
def python():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QAIRT_SDK_PYTHON", sys.executable)
        patch.setenv("SOMETHING_OF_THE_PARENT", "which no tool may see")
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdk")
    path = write_recipe(folder, technique="minmax.yaml")
    content = yaml.safe_load(path.read_text())
    content["sdk_root"] = "sdk"
    content["stages"]["split_model"] = {"num_splits": 2}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    install(folder / "sdk")
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path) -> LLMPipeline:
    before = dict(os.environ)
    made = opened(recipe)
    result = made.construct(RunOptions(jobs=2))
    assert result.status == "done", result.failed
    assert dict(os.environ) == before
    return made


def opened(recipe: Path, *changes: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, [*SDK, *changes], cache_dir=recipe.parent / "cache")


def outputs(made: LLMPipeline, stage: str) -> list[Any]:
    planned = next(planned for planned in made.plan().stages if planned.stage.name == stage)
    return [made.cache.get(item.key, type(item.stage)) for item in planned.items]


def test_every_command_is_the_seeds(recipe: Path, finished: LLMPipeline):
    said = calls(recipe.parent / "sdk")
    tools = [line.split()[0] for line in said]
    assert {tool: tools.count(tool) for tool in set(tools)} == {
        "qairt-converter": 4, "qairt-quantizer": 4, "qnn-context-binary-generator": 2,
    }  # fmt: skip
    assert (
        "qairt-converter --input_network ar8-cl32_1_of_2/ar8-cl32_1_of_2.onnx "
        "--quantization_overrides ar8-cl32_1_of_2.encodings "
        "--source_model_input_layout input_ids NONTRIVIAL -o ar8-cl32_1_of_2.dlc"
    ) in said
    assert (
        "qairt-quantizer --input_dlc ar8-cl32_2_of_2.dlc --input_list input_list.txt "
        "--output_dlc ar8-cl32_2_of_2_quantized.dlc --act_bitwidth 16 --bias_bitwidth 32"
    ) in said
    assert (
        "qnn-context-binary-generator --backend libQnnHtp.so --model libQnnModelDlc.so "
        "--input_output_tensor_mem_type memhandle --config_file weight_sharing_model_2_of_2_generator.json "
        "--binary_file weight_sharing_model_2_of_2.serialized "
        "--dlc_path ar1-cl32_2_of_2_quantized.dlc,ar8-cl32_2_of_2_quantized.dlc"
    ) in said


def test_binaries_wrappers_and_bundle_name_the_graphs(finished: LLMPipeline):
    import onnx

    for part, made in enumerate(outputs(finished, "generate_context_binary"), 1):
        names = [f"ar{ar}-cl32_{part}_of_2" for ar in (1, 8)]
        assert [graph.name for graph in inspect(made.binary).graphs] == names
        assert sorted(made.wrappers) == sorted(made.signatures) == names
        for name, wrapper in made.wrappers.items():
            assert wrapper.parent == made.binary.parent
            (node,) = onnx.load(wrapper).graph.node
            attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            assert attributes["partition_name"].decode() == name
            assert attributes["ep_cache_context"].decode() == f"weight_sharing_model_{part}_of_2.serialized.bin"
    metadata = yaml.safe_load((finished.cache_dir / "export_bundle" / "metadata.yaml").read_text())
    assert [graph["name"] for graph in metadata["graphs"]][:2] == ["ar1-cl32_1_of_2", "ar8-cl32_1_of_2"]


def test_nothing_is_left_of_the_work(finished: LLMPipeline):
    assert not [*finished.state_folder.rglob(".sdk-*")]
    for stage, names in {
        "convert": r"ar\d-cl32_\d_of_2\.dlc",
        "quantize": r"ar\d-cl32_\d_of_2_quantized\.(dlc|onnx)|quantized_weights\.bin|signature\.json",
    }.items():
        for item in (finished.state_folder / stage).iterdir():
            own = [path.name for path in item.iterdir() if path.name not in ("cache_entry.json", "output.json")]
            assert all(re.fullmatch(names, name) for name in own), own


def test_what_the_tools_say_is_in_the_items_log(finished: LLMPipeline):
    (log,) = finished.state_folder.glob("runs/*/logs/convert.ar8-split2.log")
    assert f"QAIRT SDK {VERSION}: qairt-converter --input_network" in log.read_text()
    assert "INFO - Completed successfully" in log.read_text()


def test_a_second_run_does_nothing_and_another_version_makes_what_it_made(recipe: Path, finished: LLMPipeline):
    assert opened(recipe).plan().to_run() == []
    yaml_file = recipe.parent / "sdk" / "sdk.yaml"
    kept = yaml_file.read_text()
    try:
        yaml_file.write_text("version: 2.44.0.260225\n")
        to_run = opened(recipe).plan().to_run()
        assert {item.stage.name for item in to_run} == {*STAGES, "export_bundle"}
        assert to_run[0].reason == f"convert.toolchain QAIRT SDK {VERSION} → QAIRT SDK 2.44.0.260225"
    finally:
        yaml_file.write_text(kept)


def test_the_cpu_runs_what_was_quantized(finished: LLMPipeline):
    with finished.generator("cpu") as generator:
        assert len(finished.answer(generator, "Hi", max_new_tokens=4).result.tokens) == 4


def test_a_failure_is_one_items_and_says_what_to_do(recipe: Path, tmp_path: Path):
    root = install(tmp_path / "sdk")
    let_fail(root, "qairt-converter", "ERROR - Tensor 221 and 119 have mismatching datatypes. 0x416 != 0x232.")
    made = LLMPipeline.from_recipe(
        recipe, [*SDK, f"sdk_root={root}", "stages.prepare_exports.arn=[1]"], cache_dir=recipe.parent / "cache"
    )
    result = made.construct(RunOptions(until="convert", jobs=1, force=frozenset({"convert"})))
    assert {failure.stage for failure in result.failed} == {"convert"}
    failure = result.failed[0]
    assert "usually because one of them is not quantized" in failure.what
    assert "0x416 != 0x232" in failure.what
    assert "every tensor needs an encoding" in str(failure.remedy)
    assert not [*made.state_folder.rglob("*.sdk-*")]
    data = json.dumps([failure.as_dict() for failure in result.failed])
    assert "Traceback" not in data
