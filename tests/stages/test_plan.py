"""The plan says before anything runs what there will be, and refuses what cannot work."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.amounts import size
from qairt.engine.plan.announce import planned_entries
from qairt.engine.plan.order import makespan, rules
from qairt.engine.record.state import RunState
from qairt.engine.record.waiting import waits_for
from qairt.engine.run.options import RunOptions
from qairt.errors import ContractViolation, ModelError, QairtError, QuantizationError, RecipeError
from qairt.llm import LLMPipeline
from qairt.machine import total_memory
from qairt.stages.split_model import parts_of
from qairt.toolchain.costs import compile_peak, graph_peak

VTCM = "VTCM decides nothing: a graph needs the same of it in any number of parts"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("plan"), num_hidden_layers=4)


def planned(recipe: Path, *changes: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, changes, cache_dir=recipe.parent / "cache")


@pytest.mark.parametrize("splits", [2, 3, 5])
def test_artifacts_are_counted_for_two_lengths_and_n_parts(recipe: Path, splits: int):
    plan = planned(recipe, f"stages.split_model.num_splits={splits}").plan()
    counts = {stage.stage.name: dict(stage.artifacts) for stage in plan.stages}
    assert counts["prepare_exports"] == {"ONNX": 2, "encodings": 2}
    assert counts["split_model"] == {"ONNX": 2 * splits, "encodings": 2 * splits}
    assert counts["mha_to_sha_conversion"] == {"ONNX": 2 * (splits - 1), "encodings": 2 * (splits - 1)}
    assert counts["convert"] == {"DLC": 2 * splits}
    assert counts["quantize"] == {"DLC": 2 * splits, "quantized ONNX": 2 * splits}
    assert counts["generate_context_binary"] == {"context binary": splits}
    assert counts["export_bundle"] == {"bundle": 1}


def test_the_number_of_parts_is_chosen_and_said(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    auto = planned(recipe, "stages.split_model.num_splits=auto")
    plan = auto.plan()
    assert {stage.stage.name: len(stage.items) for stage in plan.stages}["generate_context_binary"] == 2
    assert f"num_splits: auto is 2: the parts need not be smaller; {VTCM}" in auto.all_notices()
    stated = planned(recipe, "stages.split_model.num_splits=2").plan()
    assert [item.key for item in plan.items] == [item.key for item in stated.items]
    largest = max(max(graph_peak(part), compile_peak(part, 4)) for part in parts_of(auto.env()))
    monkeypatch.setattr("qairt.machine.total_memory", lambda: 2 * largest - 2)
    tight = planned(recipe, "stages.split_model.num_splits=auto")
    assert len(next(stage for stage in tight.plan().stages if stage.stage.name == "split_model").items) == 2 * 3
    (told,) = (notice for notice in tight.all_notices() if notice.startswith("num_splits"))
    ram = size(2 * largest - 2)
    too_much = f"with 2, one takes {size(largest)} to make, more than half of"
    assert told == f"num_splits: auto is 3: {too_much} this machine's {ram} of RAM; {VTCM}"


def test_the_number_goes_by_the_memory_of_the_run_and_stays(tmp_path: Path):
    recipe = write_recipe(tmp_path, num_hidden_layers=4)
    auto, splits = "stages.split_model.num_splits=auto", "stages.split_model.num_splits=3"
    largest = max(max(graph_peak(part), compile_peak(part, 4)) for part in parts_of(planned(recipe, auto).env()))
    options = RunOptions(memory=2 * largest - 2, until="model_loading", executor="inline")

    def told(pipeline: LLMPipeline) -> str:
        return next(notice for notice in pipeline.all_notices() if notice.startswith("num_splits"))

    tight = planned(recipe, auto)
    plan = tight.plan(replace(options, until=None))
    stated = planned(recipe, splits)
    keys = [item.key for item in stated.plan().items]
    assert [item.key for item in plan.items] == keys
    may_take = f"the {size(2 * largest - 2)} of RAM that the run may take"
    why = f"with 2, one takes {size(largest)} to make, more than half of {may_take}"
    assert told(tight) == f"num_splits: auto is 3: {why}; {VTCM}"

    wide = planned(recipe, auto)
    wide.plan()
    assert told(wide) == f"num_splits: auto is 2: the parts need not be smaller; {VTCM}", "a plan decides nothing"

    assert tight.construct(options).status == "done"
    again = planned(recipe, auto)
    assert [item.key for item in again.plan().items] == keys, "every later command finds what the run builds"
    other = f"for this machine's {size(total_memory())} of RAM it would be 2: state that number to build them"
    assert told(again) == f"num_splits: auto is 3: as an earlier run chose ({why}); {other}; {VTCM}"
    again.plan(replace(options, until=None))
    assert told(again) == f"num_splits: auto is 3: as an earlier run chose ({why}); {VTCM}"
    assert len(parts_of(again.plan_finished()[0])) == 3

    wider = planned(recipe, auto, "stages.quantization.recipe=minmax.yaml")
    wider.plan()
    assert told(wider) == f"num_splits: auto is 2: the parts need not be smaller; {VTCM}", "of another technique"


def test_parts_are_built_one_after_another_where_files_are_deleted(recipe: Path):
    """Through `convert`, which nobody needs: what a part is quantized from is gone before the next part is cut."""
    plan = planned(recipe, "keep=bundle", "stages.split_model.num_splits=5").plan()
    assert not [item for item in plan.to_run() if item.stage.name == "convert"]
    for is_grouped, keys in enumerate(rules(plan.to_run())):
        begun: list[str] = []
        makespan(plan.to_run(), keys, 1, lambda item, begun=begun: begun.append(item.name))
        for part in range(2, 6):
            for ar in ("ar1", "ar8"):
                stages = ("split_model", "mha_to_sha_conversion", "quantize")
                names = [*(f"{stage} {ar}-split{part}" for stage in stages), f"generate_context_binary split{part}"]
                assert sorted(names, key=begun.index) == names
        if not is_grouped:
            continue
        first = {
            part: min(begun.index(f"split_model {ar}-split{part}") for ar in ("ar1", "ar8")) for part in range(1, 6)
        }
        ends = {part: begun.index(f"generate_context_binary split{part}") for part in range(1, 6)}
        assert all(sum(first[part] <= place < ends[part] for part in first) <= 1 for place in range(len(begun)))


def test_a_screen_knows_what_an_item_waits_for_through_a_stage_that_nobody_needs(recipe: Path):
    plan = planned(recipe).plan()
    state = RunState.of_plan(planned_entries(plan))
    item = state.items["quantize", "ar1-split2"]
    assert item.sources == ("mha_to_sha_conversion ar1-split2",), "not convert, which is made on demand"
    assert item.status == "waiting"
    assert waits_for(item, state) == "waits for mha_to_sha_conversion ar1-split2"


def test_several_context_lengths_are_one_more_axis(recipe: Path):
    plan = planned(recipe, "stages.prepare_exports.context_length=[16, 32, 64]").plan()
    counts = {stage.stage.name: len(stage.items) for stage in plan.stages}
    assert counts["prepare_exports"] == 6
    assert counts["convert"] == 18
    assert counts["generate_context_binary"] == 3
    labels = [item.label for item in plan.stages[3].items]
    assert labels[:2] == ["cl16-ar1", "cl16-ar8"]


def test_the_head_alone_is_one_of_the_parts(recipe: Path):
    plan = planned(recipe, "stages.split_model.num_splits=4", "stages.split_model.split_lm_head=true").plan()
    counts = {stage.stage.name: len(stage.items) for stage in plan.stages}
    assert (counts["split_model"], counts["generate_context_binary"]) == (8, 4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("vtcm_mb=9", "9 MB of VTCM are more than the 8 MB of SM8650"),
        ("extended_udma=true", "SM8650 (HTP v75) has no extended UDMA: that needs HTP v81"),
        ('overrides=[{"where": {"split": 2}, "set": {"vtcm_mb": 9}}]', "9 MB of VTCM are more than the 8 MB of SM8650"),
    ],
)
def test_what_the_chip_lacks_is_refused_before_a_run(recipe: Path, setting: str, message: str):
    with pytest.raises(RecipeError, match=re.escape(message)):
        planned(recipe, f"stages.generate_context_binary.{setting}").plan()


def test_the_cpu_backend_leaves_the_npu_out(recipe: Path):
    plan = planned(recipe, "backend=CPU").plan()
    counts = {stage.stage.name: dict(stage.artifacts) for stage in plan.stages}
    assert "convert" not in counts
    assert "generate_context_binary" not in counts
    assert counts["quantize"] == {"quantized ONNX": 6}


def test_a_plan_opens_no_weights_and_loads_no_torch(recipe: Path, tmp_path: Path):
    import subprocess

    code = (
        "import sys; from qairt.llm import LLMPipeline;"
        f"LLMPipeline.from_recipe({str(recipe)!r}, cache_dir={str(tmp_path)!r}).plan();"
        "print([name for name in ('torch', 'onnx', 'onnx_ir', 'onnxruntime', 'transformers') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


REFUSED = [
    (
        "stages.split_model.num_splits=10",
        RecipeError,
        "10 is too large: .* 4 layers, each in two halves\n  use at most 9",
    ),
    (
        "stages.prepare_exports.context_length=8",
        RecipeError,
        "context_length 8 must be larger than every arn, but arn has 8",
    ),
    ("soc_details=chipset:SM9999", RecipeError, "SM9999.*\n.*SM8650"),
    ("soc_details=SM8650", RecipeError, "soc_details 'SM8650' is not of the form chipset:NAME"),
    ("soc_details=chipset:SM8350", QairtError, "(?s)v68.*"),
    ("soc_details=chipset:SM8450", QairtError, "(?s)v69.*"),
    (
        "stages.quantization.recipe=lpqb.yaml",
        RecipeError,
        r"command line: stages.quantization.recipe: lpqb.yaml was not found in .*/quantization\n"
        r"  did you mean lpbq.yaml\?",
    ),
    (
        "stages.quantization.technique={block_size: 48}",
        QuantizationError,
        r"model.layers.0.self_attn.q_proj.weight: block_size 48 does not divide its input width 64",
    ),
    (
        "stages.quantization.technique={module_precisions: {custom: {'.*no_proj': 8}}}",
        QuantizationError,
        r"command line: stages.quantization.technique: module_precisions.custom..\*no_proj: it matches no linear of the"
        r" model\n  the nearest names: model.layers",
    ),
    (
        "stages.quantization.calibration_text=missing.txt",
        RecipeError,
        "command line: stages.quantization.calibration_text: missing.txt was not found in .* or .*plan0\n"
        "  give the path of an existing file",
    ),
    (
        "stages.quantization.tecnique={}",
        RecipeError,
        "tecnique is not a setting of quantization\n  did you mean technique?",
    ),
    ("stages.prepare_exports.arn=many", RecipeError, "stages.prepare_exports.arn: input should be a valid integer"),
    ("stages.export.onnx=a.onnx", RecipeError, "onnx and encodings must be set together"),
    ("backend=GPU", RecipeError, "backend: input should be 'HTP' or 'CPU', not 'GPU'"),
    ("model_id_or_path=missing/model", ModelError, "missing/model"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_work_is_refused_before_anything_runs(recipe: Path, change: str, kind: type, message: str):
    with pytest.raises(kind, match=message):
        planned(recipe, change).plan()
    assert not (recipe.parent / "cache" / "pipeline_state" / "manifest.json").exists()


def edited(recipe: Path, change) -> Path:
    content = yaml.safe_load(recipe.read_text())
    change(content)
    path = recipe.with_name("edited.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_an_unknown_stage_names_its_line_and_the_nearest(recipe: Path):
    def change(content: dict) -> None:
        content["stages"]["split_modle"] = content["stages"].pop("split_model")

    with pytest.raises(
        RecipeError, match=r"edited\.yaml:\d+: there is no stage split_modle\n  did you mean split_model\?"
    ):
        planned(edited(recipe, change))


def test_stages_out_of_order_are_named(recipe: Path):
    def change(content: dict) -> None:
        stages = content["stages"]
        content["stages"] = {"split_model": stages.pop("split_model")} | stages

    message = (
        "stages.split_model: prepare_exports must come before it but comes after\n"
        "  put prepare_exports before split_model"
    )
    with pytest.raises(ContractViolation, match=message):
        planned(edited(recipe, change))


def test_an_empty_calibration_text_is_refused(recipe: Path):
    (recipe.parent / "empty.txt").write_text("")
    with pytest.raises(QuantizationError, match=r"empty\.txt is empty"):
        planned(recipe, "stages.quantization.calibration_text=empty.txt").plan()


def test_a_model_without_config_is_named(recipe: Path, tmp_path: Path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ModelError, match=r"bare: the model directory has no config\.json"):
        planned(recipe, f"model_id_or_path={tmp_path / 'bare'}").plan()


def test_a_missing_wheel_says_how_to_install_it(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib import metadata

    from qairt.errors import ToolchainNotAvailable

    real = metadata.version

    def version(package: str) -> str:
        if package == "onnxruntime-qnn":
            raise metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(
        ToolchainNotAvailable, match=r"onnxruntime-qnn is not installed\n  pip install onnxruntime-qnn==2.7.0"
    ):
        planned(recipe).plan()
    assert planned(recipe, "backend=CPU").plan().to_run()


def test_a_part_over_the_limit_says_which_num_splits_fits(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    from qairt.toolchain import limits

    # One layer of this model takes 22 KiB at 5 bits a weight, lm_head 10 KiB.
    monkeypatch.setattr(limits, "GRAPH_BYTES", 40 * 1024)
    with pytest.raises(RecipeError, match=r"stages\.split_model\.num_splits: part 3 of 3 would hold") as caught:
        planned(recipe).plan()
    wanted = caught.value.remedy.split()[3]
    assert planned(recipe, f"stages.split_model.num_splits={wanted}").plan().to_run()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], []),
        (["stages.quantize.act_bitwidth=16", "stages.quantize.bias_bitwidth=32"], []),
        (
            ["stages.quantize.act_bitwidth=8"],
            [
                "stages.quantize.act_bitwidth: 8 changes nothing, since the encodings have 16 bits:"
                " set stages.quantization.act_bitwidth"
            ],
        ),
        (["stages.quantize.act_bitwidth=8", "stages.quantization.act_bitwidth=8"], []),
        (
            ["stages.quantize.bias_bitwidth=8"],
            ["stages.quantize.bias_bitwidth: 8 changes nothing: biases have 32 bits"],
        ),
    ],
)
def test_a_bit_width_that_changes_nothing_is_told(recipe: Path, changes: list[str], told: list[str]):
    pipeline = planned(recipe, *changes)
    pipeline.plan()
    assert [notice for notice in pipeline.all_notices() if "changes nothing" in notice] == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("stages.quantization.act_bitwidth=12", "input should be 8 or 16, not 12"),
        ("stages.quantization.kv_bitwidth=4", "input should be 8 or 16, not 4"),
        ("stages.quantization.mask_floor=5", "input should be less than 0, not 5"),
        ("stages.quantize.act_bitwidth=12", "input should be 8 or 16, not 12"),
        ("stages.quantize.bias_bitwidth=16", "input should be 8 or 32, not 16"),
    ],
)
def test_what_no_graph_can_hold_is_refused_before_anything_runs(recipe: Path, change: str, told: str):
    with pytest.raises(RecipeError, match=f"{change.partition('=')[0]}: {told}"):
        planned(recipe, change)
