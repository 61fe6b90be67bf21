"""Which stages an SDK can make together, and that a plan needs none."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
from sdk_stand_in import install
from tiny_recipe import write_recipe

from qairt.errors import ContractViolation, RecipeError, ToolchainNotAvailable
from qairt.llm import LLMPipeline

STAGES = ("convert", "quantize", "generate_context_binary")
ALL = tuple(f"stages.{stage}.toolchain=sdk" for stage in STAGES)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QAIRT_SDK_ROOT", raising=False)
    monkeypatch.setenv("QAIRT_SDK_PYTHON", sys.executable)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("choice"), technique="minmax.yaml")


def opened(recipe: Path, *changes: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, changes, cache_dir=recipe.parent / "cache")


def keys(made: LLMPipeline) -> dict[str, str]:
    return {item.name: item.key for item in made.plan().items}


def test_a_plan_is_made_without_an_sdk_and_a_run_is_not(recipe: Path):
    made = opened(recipe, *ALL)
    plan = made.plan()
    assert {item.tools for item in plan.items if item.stage.name in STAGES} == {"QAIRT SDK, not found"}
    assert plan.as_dict()["seconds"] > 0
    for call in (made.check, made.construct):
        with pytest.raises(ToolchainNotAvailable, match="neither sdk_root nor") as caught:
            call()
        assert caught.value.exit_code == 3
    assert not made.state_folder.exists()


def test_it_is_found_by_the_setting_or_the_variable(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = install(tmp_path / "sdk")
    by_setting = opened(recipe, *ALL, f"sdk_root={root}")
    with pytest.warns(UserWarning, match="its libraries are built for 3.10") as warned:
        by_setting.check()
    assert len(warned) == 1, "once, whichever stages use it"
    monkeypatch.setenv("QAIRT_SDK_ROOT", str(root))
    assert keys(opened(recipe, *ALL)) == keys(by_setting), "where it lies is not in the key"
    tasks = [item.task for item in by_setting.plan().items if item.stage.name in STAGES]
    assert {task.paths["SDK"] for task in tasks} == {root}


def test_its_version_is_part_of_the_key_of_what_it_makes(recipe: Path, tmp_path: Path):
    root = install(tmp_path / "sdk")
    before = keys(opened(recipe, *ALL, f"sdk_root={root}"))
    (root / "sdk.yaml").write_text("version: 2.44.0.260225\n")
    after = keys(opened(recipe, *ALL, f"sdk_root={root}"))
    changed = {name.split()[0] for name in before if before[name] != after[name]}
    assert changed == {*STAGES, "export_bundle"}


def test_the_wheels_keys_are_those_of_a_recipe_that_says_nothing(recipe: Path):
    assert keys(opened(recipe)) == keys(opened(recipe, *(change.replace("sdk", "qnn") for change in ALL)))


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        (
            ("stages.quantize.toolchain=sdk",),
            "toolchain: sdk needs the same of the stage convert",
            "set stages.convert.toolchain to sdk too, or this one to qnn",
        ),
        (
            ("stages.convert.toolchain=sdk", "stages.generate_context_binary.toolchain=sdk"),
            "toolchain: sdk needs the same of the stage quantize",
            "set stages.quantize.toolchain to sdk too, or this one to qnn",
        ),
    ],
)
def test_what_cannot_be_mixed_is_told_before_any_work(recipe: Path, changes: tuple[str, ...], what: str, remedy: str):
    made = opened(recipe, *changes)
    with pytest.raises(ContractViolation) as caught:
        made.plan()
    assert what in caught.value.what
    assert caught.value.remedy == remedy
    assert "toolchain" in str(caught.value.where) or "stages." in caught.value.what


def test_the_quantizer_needs_the_stage_convert(recipe: Path, tmp_path: Path):
    import yaml

    content = yaml.safe_load(recipe.read_text())
    del content["stages"]["convert"]
    content["model_id_or_path"] = str(recipe.parent / "model")
    content["stages"]["quantization"]["calibration_text"] = str(recipe.parent / "text.txt")
    other = tmp_path / "recipe.yaml"
    other.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ContractViolation, match="toolchain: sdk needs the stage convert") as caught:
        opened(other, "stages.quantize.toolchain=sdk").plan()
    assert caught.value.remedy == "add convert"


@pytest.mark.parametrize("made_by_sdk", [("convert",), ("convert", "quantize")])
def test_the_wheel_can_follow_on_the_sdk_anywhere(recipe: Path, tmp_path: Path, made_by_sdk: tuple[str, ...]):
    root = install(tmp_path / "sdk")
    made = opened(recipe, f"sdk_root={root}", *(f"stages.{stage}.toolchain=sdk" for stage in made_by_sdk))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.check()
    tools = {item.stage.name: item.tools for item in made.plan().items}
    assert all(tools[stage].startswith("QAIRT SDK 2.43" if stage in made_by_sdk else "onnx") for stage in STAGES)


def test_a_part_cannot_choose_for_itself(recipe: Path):
    override = "stages.quantize.overrides=[{where: {split: 2}, set: {toolchain: sdk}}]"
    with pytest.raises(RecipeError, match="toolchain applies to the whole stage: it cannot differ by coordinate"):
        opened(recipe, override)
    with pytest.raises(RecipeError, match="toolchain"):
        opened(recipe, "stages.convert.toolchain=sdkk")


def test_the_cpu_backend_needs_no_sdk(recipe: Path):
    opened(recipe, "backend=CPU", *ALL).check()
