"""Ceilings of a chip: arithmetic on bytes, and sizes before there are binaries."""

from __future__ import annotations

import json
import re

import pytest
from tiny_models import TINY
from tiny_recipe import write_recipe

from qairt.amounts import size
from qairt.cli.main import main
from qairt.cli.text.estimate import at_most_lines
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.results.estimate import (
    ContextLength,
    PartSize,
    Workload,
    at_most,
    at_most_of,
    estimate,
    latest_timing,
    workload_of,
)
from qairt.stages.facts import held_bytes, model_of, sizes_of
from qairt.toolchain.chip_sheet import SHEETS, ChipSheet, sheet_of
from qairt.toolchain.soc import SOCS

WORKLOAD = Workload(
    parts=(PartSize("part 1 of 2", 1_000_000, 0), PartSize("part 2 of 2", 90_000_000, 90_000_000)),
    measured=True,
    operations=200_000_000,
    attention=1_000,
    kv_bytes=10_000,
    contexts=(ContextLength(1_000, 1_000), ContextLength(4_000, 4_000)),
    prompt_ar=128,
    needs_blocks=True,
)
SHEET = ChipSheet(100e9, "given", 10, "given")
FIGURE = "give a number above 0, up to 1,000,000"


def test_a_token_reads_all_weights_and_the_whole_cache():
    short, long = estimate(WORKLOAD, SOCS["SM8650"], SHEET, prompt_tokens=256).ceilings
    assert (short.call_bytes, long.call_bytes) == (100_000_000, 130_000_000)
    assert (short.decode, long.decode) == (1_000, pytest.approx(100e9 / 130e6))
    assert (short.dram, long.dram) == (101_000_000, 131_000_000)


def test_a_prompt_is_bound_by_the_slower_of_bytes_and_operations():
    short, long = estimate(WORKLOAD, SOCS["SM8650"], SHEET, prompt_tokens=257).ceilings
    # 128 tokens: 1 ms of bytes, but 128 * (2e8 + 1000 * 1000) operations at 1e13 a second are 2.57 ms
    assert short.prompt == pytest.approx(128 / 2.5728e-3)
    assert short.first_token == pytest.approx(257 * 2.01e8 / 1e13), "three calls, but a shorter AR may be the last"
    bytes_only = estimate(WORKLOAD, SOCS["SM8650"], ChipSheet(100e9, "given"), prompt_tokens=257).ceilings[0]
    assert bytes_only.first_token == pytest.approx(3e-3), "257 tokens are three calls"
    assert estimate(WORKLOAD, SOCS["SM8650"], SHEET, prompt_tokens=1_000).ceilings[0].first_token is None, "no room"


def test_decoding_is_bound_by_the_slower_too():
    slow = ChipSheet(100e9, "given", 0.1, "given")
    short, long = estimate(WORKLOAD, SOCS["SM8650"], slow, prompt_tokens=1).ceilings
    # 1 ms of bytes, but 2e8 + 1000 * 1000 operations at 1e11 a second are 2.01 ms
    assert (short.decode, long.decode) == (pytest.approx(1e11 / 2.01e8), pytest.approx(1e11 / 2.04e8))
    assert short.first_token == pytest.approx(2.01e-3)


def test_without_a_published_bandwidth_nothing_is_made_up():
    (ceiling, _) = estimate(WORKLOAD, SOCS["QCM6490"], sheet_of("QCM6490"), prompt_tokens=1).ceilings
    assert (ceiling.decode, ceiling.prompt, ceiling.first_token) == (None, None, None)
    assert sheet_of("QCM6490", bandwidth_gb_s=25).bandwidth == 25e9


def test_every_chip_has_a_sheet_and_every_figure_a_source():
    assert SHEETS.keys() == SOCS.keys()
    for sheet in SHEETS.values():
        assert (sheet.bandwidth is None) == (sheet.bandwidth_source == "not published")
        assert (sheet.tops is None) == (sheet.tops_source == "not published")


def test_why_it_does_not_fit():
    assert estimate(WORKLOAD, SOCS["SM8350"], SHEET, prompt_tokens=1).obstacles == (
        "HTP v68 has no block-quantized (LPBQ) weights: use an 8-bit technique",
        "HTP v68 cannot share weights between graphs",
    )
    assert estimate(WORKLOAD, SOCS["SM8750"], SHEET, prompt_tokens=1).obstacles == ()


def test_layers_with_windows_keep_no_more_than_these(tmp_path):
    family, changes = TINY["gemma3_text-scaled"]
    recipe = write_recipe(tmp_path, family=family, **changes)
    text = recipe.read_text()
    recipe.write_text(text.replace("  export_bundle: {}\n", ""))
    overrides = ["stages.prepare_exports.context_length=[16,64]"]
    pipeline = LLMPipeline.from_recipe(recipe, overrides)
    assert changes["sliding_window"] == 8
    env = pipeline.env()
    found = at_most(env, pipeline.plan(env=env), pipeline.state_folder)
    windows = [model_of(env).config.window_of(layer) for layer in range(model_of(env).config.num_layers)]
    assert {*windows} == {8, None}
    local, whole = windows.count(8), windows.count(None)
    assert found.workload.contexts == (
        ContextLength(16, whole * 16 + local * 9),
        ContextLength(64, whole * 64 + local * 9),
    )
    assert found.chip.soc.name == "SM8650"
    assert at_most_lines(found)[0].startswith("At most ")


def test_experts_that_a_token_is_not_given_to_are_told(tmp_path):
    family, changes = TINY["qwen3_moe"]
    recipe = write_recipe(tmp_path, family=family, **changes, technique="minmax.yaml")
    recipe.write_text(recipe.read_text().replace("  export_bundle: {}\n", ""))
    pipeline = LLMPipeline.from_recipe(recipe)
    env = pipeline.env()
    found = at_most(env, pipeline.plan(env=env), pipeline.state_folder)
    one = 3 * 64 * 32  # weights of an expert
    assert found.workload.experts == (2, 4)
    assert found.workload.idle_expert_bytes == 2 * 2 * one, "8 bits, and lm_head's share does not matter"
    told = (
        f"A token reads all 4 experts of each layer, {size(2 * 2 * one)} for those it is not given to: it is given to 2"
    )
    assert told in at_most_lines(found)
    layers = sizes_of(env).layers
    assert held_bytes(env) == max(layers) - 3 * 4 * one, "of the experts, one"


def test_nothing_is_said_of_a_chip_where_no_binary_is_made(tmp_path):
    pipeline = LLMPipeline.from_recipe(write_recipe(tmp_path, backend="CPU", technique="minmax.yaml"))
    env = pipeline.env()
    assert at_most(env, pipeline.plan(env=env), pipeline.state_folder) is None
    assert at_most_of(pipeline) is None
    (tmp_path / "model" / "config.json").unlink()
    assert at_most_of(pipeline) is None, "nor where the recipe does not work now"


def test_the_plan_says_what_the_chip_could_do(tmp_path, capsys):
    recipe = write_recipe(tmp_path)
    assert main(["plan", str(recipe), "--brief"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "At most 1,328,904 tokens/s at context length 32 on SM8650: a token reads 58 kB"
    )
    assert main(["plan", str(recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["at_most"]["workload"]["kv_bytes"] == 64


def test_before_a_run_sizes_follow_from_the_recipe(tmp_path):
    run = LLMPipeline.from_recipe(write_recipe(tmp_path)).finished()
    found = workload_of(run.env, run.plan)
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64
    assert not found.measured
    assert found.parts == (
        PartSize("part 1 of 3", 260 * 64, 0),
        PartSize("part 2 of 3", layer * 5 // 8, layer * 4 // 8),
        PartSize("part 3 of 3", 260 * 64 + 64 + layer * 5 // 8, 260 * 64 + 64 + layer * 4 // 8),
    )
    assert found.kv_bytes == 2 * 2 * 16, "keys and values, two heads of 16, 8 bits"
    assert found.contexts == (ContextLength(32, 2 * 32),), "two layers"
    assert (found.prompt_ar, found.needs_blocks) == (8, True)


@pytest.mark.compiler
def test_a_call_reads_the_weights_of_a_binary_and_not_the_instructions_of_all_its_graphs(tmp_path):
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace("  export_bundle: {}\n", ""))
    workloads = []
    for lengths in ("[16]", "[16,32,64]"):
        pipeline = LLMPipeline.from_recipe(recipe, [f"stages.prepare_exports.context_length={lengths}"])
        before = at_most_of(pipeline).workload
        pipeline.construct(RunOptions(executor="inline"))
        after = at_most_of(pipeline).workload
        assert (before.measured, after.measured) == (False, True)
        assert after.weights_read == before.weights_read, "a ceiling is one before the run and after it"
        workloads.append(after)
    one, three = workloads
    assert sum(part.bytes for part in three.parts) > 1.2 * sum(part.bytes for part in one.parts)
    assert three.weights_read == one.weights_read
    for small, large in zip(one.parts, three.parts, strict=True):
        of_two_graphs = (large.bytes - small.bytes) / 2  # six graphs in the larger, two in the smaller
        assert small.read <= small.bytes - of_two_graphs, "what remains of a binary without its graphs are the weights"


def test_weights_count_with_the_fewest_bits_that_a_recipe_can_give_them(tmp_path):
    recipe = write_recipe(tmp_path)
    technique = tmp_path / "technique.yaml"

    def read(settings: str) -> int:
        technique.write_text(settings)
        run = LLMPipeline.from_recipe(recipe, [f"stages.quantization.recipe={technique}"]).finished()
        return workload_of(run.env, run.plan).parts[1].read

    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64
    assert read("technique: minmax\n") == layer
    assert read("technique: minmax\nweight_bitwidth: 4\n") == layer // 2
    assert read("technique: lpbq\nmodule_precisions: {custom: {'.*': 8}}\n") == layer // 2
    assert read("technique: minmax\nmodule_precisions: {custom: {'.*down_proj': 4}}\n") == layer // 2


@pytest.mark.parametrize(
    ("given", "what", "remedy"),
    [
        (["--bandwidth", "inf"], "--bandwidth: inf GB/s is not the figure of a chip", FIGURE),
        (["--bandwidth", "nan"], "--bandwidth: nan GB/s is not the figure of a chip", FIGURE),
        (["--tops", "inf"], "--tops: inf TOPS is not the figure of a chip", FIGURE),
        (["--tops", "0"], "--tops: 0 TOPS is not the figure of a chip", FIGURE),
        (
            ["backend=CPU", "stages.quantization.recipe=minmax.yaml"],
            "command line: with backend CPU there are no graphs for an NPU",
            "set backend: HTP",
        ),
    ],
)
def test_what_no_chip_has_is_refused(tmp_path, capsys, given, what, remedy):
    recipe = write_recipe(tmp_path)
    capsys.readouterr()
    assert main(["estimate", str(recipe), *given]) == 2
    assert capsys.readouterr().err == f"Error: {what}\n  {remedy}\n"


def test_a_prompt_that_the_context_has_no_room_for_is_told_apart_from_an_unknown_bandwidth(tmp_path, capsys):
    recipe = write_recipe(tmp_path)
    asked = ["estimate", str(recipe), "stages.prepare_exports.context_length=[16,64]", "--soc", "SM8650"]
    capsys.readouterr()
    assert main([*asked, "--soc", "sm8650", "--prompt", "16"]) == 0
    said = capsys.readouterr().out
    head = "At most (* the recipe's chip; ? memory bandwidth not published; – no room for the prompt and an answer):"
    assert head in said
    assert said.count("SM8650 *") == 1, "a chip given twice is one chip"
    short, long = said.splitlines()[-5:-3]
    assert re.fullmatch(r"SM8650 .* 16 .* –  82 kB  yes", short)
    assert re.fullmatch(r" +64 .* 0\.0 ms  88 kB", long.rstrip())
    assert main([*asked, "--prompt", "15"]) == 0
    assert "no room" not in capsys.readouterr().out


def test_a_measured_answer_stands_beside_it(tmp_path, capsys):
    recipe = write_recipe(tmp_path)
    run = LLMPipeline.from_recipe(recipe).finished()
    assert latest_timing(run.state_folder) is None
    answers = run.state_folder.parent / "execute" / "20260101-000000-ab"
    for number, rate in (("1", None), ("2", 12.5)):
        (answers / number).mkdir(parents=True)
        (answers / number / "timing.json").write_text(json.dumps({"tokens_per_second": rate}))
    assert main(["estimate", str(recipe), "--soc", "sm8650", "--soc", "QCM6490"]) == 0
    said = capsys.readouterr().out
    assert "Measured on a device: 12.5 tokens/s, for SM8650\n" in said
    assert "  SM8650: 76.8 GB/s (LPDDR5X at 4,800 MHz on 64 bits, Qualcomm's product brief)\n" in said
    assert "  QCM6490: bandwidth not published: give --bandwidth\n" in said
    assert "Does not fit QCM6490: HTP v68 cannot share weights between graphs\n" in said


def test_an_unknown_chip_is_named(tmp_path, capsys):
    recipe = write_recipe(tmp_path)
    capsys.readouterr()
    assert main(["estimate", str(recipe), "--soc", "SM9"]) == 2
    assert capsys.readouterr().err.startswith("Error: --soc: unknown chip 'SM9'\n  use one of QCM6490, ")
