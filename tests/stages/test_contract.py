"""The stage contract, checked for every registered stage with the plan of a small recipe."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapted_recipe import write_adapted_recipe
from nsys_stand_in import install

import qairt.stages  # noqa: F401 - registers them
from qairt.engine.axes import without
from qairt.engine.cache.cache import StageCache
from qairt.engine.plan.plan import check_expansion
from qairt.engine.run.jobs import import_path
from qairt.engine.stage import AnyStage, Env, Item, StageConfig, StageInput, StageOutput, registered_stages
from qairt.errors import ContractViolation
from qairt.llm import LLMPipeline
from qairt.stages.toolchain_choice import ToolchainChoice

ORDER = [
    "model_loading",
    "quantization",
    "export",
    "prepare_exports",
    "split_model",
    "mha_to_sha_conversion",
    "convert",
    "quantize",
    "generate_context_binary",
    "lora_adapters",
    "export_bundle",
]
SIDE_BRANCHES = ["torch_profiler", "nsys"]
"""Optional, right after model_loading."""
ALL_STAGES = [ORDER[0], *SIDE_BRANCHES, *ORDER[1:]]
every_stage = pytest.mark.parametrize("name", ALL_STAGES)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMPipeline]:
    folder = tmp_path_factory.mktemp("contract")
    optional = [f"stages.{name}.warmup=1" for name in SIDE_BRANCHES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(install(folder / "bin")), prepend=":")
        yield LLMPipeline.from_recipe(write_adapted_recipe(folder), optional, cache_dir=folder / "cache")


def stage_and_batch(pipeline: LLMPipeline, name: str) -> tuple[AnyStage, dict, Env]:
    """A configured stage, its planned input items, and the environment."""
    plan = pipeline.plan()
    place = ALL_STAGES.index(name)
    stage = plan.stages[place].stage
    before = plan.stages[place - 1].batch if place else {}
    batch = {coord: Item(item.stage.name, coord, item.key) for coord, item in before.items() if stage.applies_to(coord)}
    return stage, batch, pipeline.env()


def test_the_registered_stages():
    assert set(registered_stages()) == set(ALL_STAGES)
    assert {stage.name for stage in registered_stages().values() if stage.is_side_branch} == set(SIDE_BRANCHES)


@every_stage
def test_it_names_its_types_and_can_be_imported_by_a_child(name: str):
    stage = registered_stages()[name]
    assert stage.name == name
    assert issubclass(stage.config_type, StageConfig)
    assert issubclass(stage.input_type, StageInput)
    assert issubclass(stage.output_type, StageOutput)
    module, _, attribute = import_path(stage).partition(":")
    assert getattr(importlib.import_module(module), attribute) is stage
    assert any(info.annotation in (Path, Path | None) for info in stage.output_type.model_fields.values())


@every_stage
def test_expand_is_deterministic_and_valid(pipeline: LLMPipeline, name: str):
    stage, batch, env = stage_and_batch(pipeline, name)
    one, two = stage.expand(batch, env), stage.expand(batch, pipeline.env())
    assert list(one.tasks) == list(two.tasks)
    assert one.tasks
    check_expansion(stage, batch, one, env, first=not batch)
    assert {task.coord for task in stage.dry_expand(batch, env).tasks} == {task.coord for task in one.tasks}
    for task in one.tasks:
        assert json.loads(task.model_dump_json())["coord"] == [list(pair) for pair in task.coord]
        assert task.estimate.seconds > 0
        assert task.estimate.peak_ram > 0


@every_stage
def test_tasks_have_the_labels_of_their_axis(pipeline: LLMPipeline, name: str):
    stage, batch, env = stage_and_batch(pipeline, name)
    for task in stage.expand(batch, env).tasks:
        opened = {axis: value for axis, value in task.coord if axis in stage.axes(env)}
        assert set(opened) == set(stage.axes(env))
        for source in task.sources:
            if stage.axis_name:
                assert opened[stage.axis_name] in stage.labels(source, env)
            assert without(source, stage.merges) == without(task.coord, stage.axes(env))


@every_stage
def test_cache_key_extras_are_hashable_and_deterministic(pipeline: LLMPipeline, name: str):
    stage, _, env = stage_and_batch(pipeline, name)
    extras = stage.cache_key_extras(env)
    assert hash(extras) == hash(stage.cache_key_extras(pipeline.env()))


@every_stage
def test_settings_round_trip_through_json_and_not_in_key_names_fields(name: str):
    config_type = registered_stages()[name].config_type
    config = config_type()
    assert config_type.model_validate_json(config.model_dump_json()) == config
    assert config_type.not_in_key <= set(config_type.model_fields)


CHANGED: dict[tuple[str, str], Any] = {
    ("export_bundle", "format"): "ort",
    ("export", "onnx"): Path("other.onnx"),
    ("export", "encodings"): Path("other.encodings"),
    ("export", "io_names"): {"input_ids": "tokens"},
    ("prepare_exports", "arn"): [1, 2, 3],
    ("prepare_exports", "context_length"): [4096],
    ("quantization", "recipe"): "minmax.yaml",
    ("quantization", "calibration_text"): "other.txt",
    ("quantization", "calibration_chunks"): 3,
    ("quantization", "calibration_length"): 77,
    ("quantization", "technique"): {"block_size": 32},
    ("quantization", "act_bitwidth"): 8,
    ("quantization", "kv_bitwidth"): 16,
    ("quantization", "mask_floor"): -99.0,
    ("split_model", "num_splits"): 9,
    ("split_model", "split_lm_head"): True,
    ("convert", "toolchain"): "qnn",
    ("quantize", "toolchain"): "qnn",
    ("quantize", "act_bitwidth"): 8,
    ("quantize", "bias_bitwidth"): 8,
    ("generate_context_binary", "toolchain"): "sdk",
    ("generate_context_binary", "optimization_level"): 1,
    ("generate_context_binary", "emulate"): "all",
    ("generate_context_binary", "vtcm_mb"): 4,
    ("generate_context_binary", "extended_udma"): True,
    ("torch_profiler", "enable"): False,
    ("torch_profiler", "profiled_tokens"): 1,
} | {
    (stage, setting): value
    for stage in SIDE_BRANCHES
    for setting, value in {
        "prompts": ["Other"],
        "max_new_tokens": 3,
        "warmup": 0,
        "repeats": 9,
        "chat": False,
        "device": "cpu",
    }.items()
}


@every_stage
def test_each_setting_is_in_the_key_unless_it_is_listed(name: str):
    config_type = registered_stages()[name].config_type
    # The bit widths of `quantize` are told to an SDK only, and only what the wheel compiled is emulated.
    has_choice = issubclass(config_type, ToolchainChoice) and name != "generate_context_binary"
    config = config_type(toolchain="sdk") if has_choice else config_type()
    key = StageCache.compute_key(name, config)
    for field in config_type.model_fields:
        if field == "overrides":
            value: Any = [{"where": {"ar": 1}, "set": {}}]
            changed = config_type.model_validate({field: value})
        elif field == "output":
            changed = config_type.model_validate({field: {"prediction": {"enable": True, "save_dir": "elsewhere"}}})
        elif field in ("enable_cache", "checkpoint"):
            changed = config_type.model_validate({field: False})
        elif field == "keep":
            changed = config_type.model_validate({field: "bundle"})
        else:
            assert (name, field) in CHANGED, f"add a changed value of {name}.{field} here"
            changed = config.model_copy(update={field: CHANGED[name, field]})
        same = StageCache.compute_key(name, changed) == key
        assert same == (field in config_type.not_in_key), field


@every_stage
def test_introspect_returns_json(pipeline: LLMPipeline, name: str):
    stage, batch, env = stage_and_batch(pipeline, name)
    assert json.dumps(stage.introspect(batch, env, stage.expand(batch, env).token))


@every_stage
def test_reduce_inverts_the_fan_out(pipeline: LLMPipeline, name: str):
    stage, batch, env = stage_and_batch(pipeline, name)
    expansion = stage.expand(batch, env)
    results = {task.coord: str(task.coord) for task in expansion.tasks}
    folded = stage.reduce(results, env, expansion.token)
    if stage.axes(env):
        assert set(folded) == {without(task.coord, stage.axes(env)) for task in expansion.tasks}
        assert sorted(value for inner in folded.values() for value in inner.values()) == sorted(results.values())
    else:
        assert folded == results


@every_stage
def test_validate_checks_required_stages(name: str):
    stage = registered_stages()[name]()
    others = [other() for other in registered_stages().values() if other.name != name]
    if not stage.requires:
        stage.validate([], others)
        return
    with pytest.raises(ContractViolation, match=f"stages.{name}: .*\n  put {stage.requires[0]} before {name}"):
        stage.validate([], others)
