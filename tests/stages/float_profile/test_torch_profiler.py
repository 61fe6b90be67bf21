"""The float model measured in a real run: what is found, what people get, and that nothing else depends on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import write_recipe

from qairt.engine.cache.store import Store
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import StageConfig
from qairt.errors import ContractViolation, RecipeError, ToolchainNotAvailable
from qairt.llm import LLMPipeline
from qairt.report.gather import gather
from qairt.stages import ModelLoading, Quantization, TorchProfiler
from qairt.stages.float_profile.memory_trace import MemoryTimeline
from qairt.stages.float_profile.operators import OperatorTable
from qairt.stages.float_profile.record import Profile
from qairt.stages.float_profile.workload import ProfiledModel, TorchProfilerConfig

PROMPTS = ["Hello there", "The quick brown fox"]
SETTINGS = {"prompts": PROMPTS, "max_new_tokens": 6, "repeats": 2, "profiled_tokens": 4, "device": "cpu"}
PREDICTIONS = "stages.torch_profiler.output.prediction.enable=true"


def with_profiler(recipe: Path, *, after: str = "model_loading", **changes: Any) -> Path:
    """A copy of a recipe with the stage in it."""
    content = yaml.safe_load(recipe.read_text())
    stages = {}
    for name, settings in content["stages"].items():
        stages[name] = settings
        if name == after:
            stages["torch_profiler"] = SETTINGS | changes
    path = recipe.with_name("profiled.yaml")
    path.write_text(yaml.safe_dump(content | {"stages": stages}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # `<|end|>`, the token that ends an answer, is one of 260: with random weights it hardly comes up.
    return write_recipe(tmp_path_factory.mktemp("profiler"), backend="CPU", technique="minmax.yaml")


def opened(recipe: Path, *changes: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(recipe, changes, cache_dir=recipe.parent / "cache")


def made(pipeline: LLMPipeline, **options: Any) -> LLMPipeline:
    result = pipeline.construct(RunOptions(executor="inline", **options))
    assert result.status == "done", result.failed
    return pipeline


@pytest.fixture(scope="module")
def finished(recipe: Path) -> LLMPipeline:
    return made(opened(with_profiler(recipe), PREDICTIONS), until="torch_profiler")


@pytest.fixture(scope="module")
def output(finished: LLMPipeline) -> ProfiledModel:
    (item,) = next(stage for stage in finished.plan().stages if stage.stage.name == "torch_profiler").items
    found = finished.cache.get(item.key, type(item.stage))
    assert isinstance(found, ProfiledModel)
    return found


@pytest.fixture(scope="module")
def profile(output: ProfiledModel) -> Profile:
    return Profile.model_validate_json(output.profile.read_bytes())


def outputs(pipeline: LLMPipeline, kind: str) -> Path:
    return pipeline.cache_dir / "torch_profiler" / kind


# What is found


def test_every_prompt_has_an_answer_and_its_times_with_their_spread(profile: Profile):
    assert [found.prompt for found in profile.prompts] == PROMPTS
    for found in profile.prompts:
        assert 1 <= found.tokens <= 6
        assert found.prefill_ms.samples == 2
        assert 0 < found.prefill_ms.low <= found.prefill_ms.median <= found.prefill_ms.high
        assert len(found.token_ms) == found.tokens
        assert found.token_ms[0] == pytest.approx(found.prefill_ms.median, rel=1e-3)
        assert sum(found.token_ms[1:]) == pytest.approx(found.decode_ms.mean, rel=0.5)
        assert found.tokens_per_s is not None
        rates, spent = found.tokens_per_s, found.decode_ms
        for rate, ms in ((rates.low, spent.high), (rates.high, spent.low)):
            assert rate == pytest.approx((found.tokens - 1) / ms * 1e3, rel=1e-3)
    assert profile.time_to_first_token_ms.samples == 4
    assert profile.tokens_per_s is not None
    assert profile.tokens_per_s.samples == 4


def test_the_answers_are_those_that_generation_gives(finished: LLMPipeline, profile: Profile):
    from qairt.model.parameters import open_parameters
    from qairt.model.reference import Reference
    from qairt.runtime.torch_target import TorchGenerator
    from qairt.stages.facts import model_of

    description = model_of(finished.env())
    reference = Reference(open_parameters(description.source, description.config), keep_weights=True)
    generator = TorchGenerator(reference, 64)
    for found in profile.prompts:
        result = finished.answer(generator, found.prompt, max_new_tokens=6).result
        assert result.text.strip() == found.text_clean
        assert len(result.tokens) == found.tokens


def test_shares_are_of_a_peak_that_was_measured_beside(profile: Profile):
    peak = profile.peak
    assert peak.flops_per_s > 1e8
    assert profile.decode is not None
    for work in (profile.prefill, profile.decode):
        assert work.flops_share == pytest.approx(work.flops / work.seconds / peak.flops_per_s)
        assert work.bytes_share == pytest.approx(work.bytes / work.seconds / peak.bytes_per_s)
        assert 0 < work.flops_share < 1
    assert profile.decode.bytes / profile.decode.flops > profile.prefill.bytes / profile.prefill.flops


def test_operators_add_up_to_the_wall_time_within_two_percent(output: ProfiledModel, profile: Profile):
    assert output.operators is not None
    tables = [OperatorTable.model_validate(table) for table in json.loads(output.operators.read_text())]
    assert [table.phase for table in tables] == ["prefill", "decode"]
    for table, phase in zip(tables, profile.profiled, strict=True):
        # the clock is read just outside: on a busy machine that alone is a millisecond of these few
        assert sum(row.self_ms for row in table.operators) == pytest.approx(table.wall_ms, rel=0.02, abs=1.0)
        assert phase.operators_ms == table.self_ms
        assert phase.matrix_flops == phase.expected_flops
    assert profile.profiled[0].tokens == sum(found.prompt_tokens for found in profile.prompts)
    assert profile.profiled[1].tokens == 2 * 3


def test_operators_are_written_as_markdown_and_as_a_trace(output: ProfiledModel):
    assert output.operators_markdown is not None
    text = output.operators_markdown.read_text()
    for heading in (
        "prefill: by self time",
        "prefill: by memory allocated, net",
        "decode: by self time",
        "decode: by memory",
    ):
        assert f"## {heading}" in text
    assert "| aten::mm |" in text
    assert output.trace is not None
    assert output.trace.read_bytes()[:2] == b"\x1f\x8b"


def test_memory_over_time_has_the_phases_in_order(output: ProfiledModel, profile: Profile):
    found = MemoryTimeline.model_validate_json(output.memory.read_bytes())
    names = ["load weights", "measure peak", "warm-up", "timed", "profiled"]
    assert [phase.name for phase in found.phases] == names
    assert all(before.end <= after.start for before, after in zip(found.phases, found.phases[1:], strict=False))
    answering = [
        held
        for second, held in zip(found.seconds, found.resident, strict=True)
        if found.phases[2].start <= second <= found.phases[3].end
    ]
    assert profile.peak_resident_bytes == max(answering) > profile.weight_bytes


# What people get


def test_predictions_and_pages_lie_where_the_settings_say(finished: LLMPipeline):
    lines = [json.loads(line) for line in (outputs(finished, "pred") / "predictions.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == 2 * [
        ["prompt", "text_raw", "text_clean", "prefill_ms", "decode_ms", "tokens", "tokens_per_s"]
    ]
    assert [line["prompt"] for line in lines] == PROMPTS
    viz = outputs(finished, "viz")
    assert {path.name for path in viz.iterdir()} >= {
        "predictions.md", "operators.md", "trace.json.gz", "memory.svg", "roofline.svg", "speed.svg",
        "operators_prefill.svg", "operators_decode.svg", "prompt_01.svg", "prompt_02.svg",
    }  # fmt: skip
    page = (viz / "predictions.md").read_text()
    assert "time to first token" in page
    assert "> The quick brown fox" in page
    assert page.count("<img ") == 7
    assert 'width="480"' in page


def test_the_report_has_it(finished: LLMPipeline, profile: Profile) -> None:
    speed = gather(finished.cache, "recipe.yaml").speed
    assert speed is not None
    assert dict(speed.rows)["time to first token"].startswith(f"{profile.time_to_first_token_ms.median:,.1f} (")
    assert list(speed.operators) == ["prefill", "decode"]
    for rows in speed.operators.values():
        assert rows == sorted(rows, key=lambda row: -row[1])
        assert 0 < rows[0][2] < 1
    assert speed.answers == [(found.prompt, found.text_clean) for found in profile.prompts]


def test_how_many_pictures_and_how_wide_is_a_setting(finished: LLMPipeline, recipe: Path):
    extra = "stages.torch_profiler.output.extra.model"
    changed = opened(
        with_profiler(recipe),
        PREDICTIONS,
        f"{extra}.visualization.max_images=2",
        f"{extra}.visualization.thumbnail_width=200",
    )
    assert changed.plan().stages[1].items[0].cached
    page = (outputs(made(changed, until="torch_profiler"), "viz") / "predictions.md").read_text()
    assert page.count("<img ") == 2
    assert page.count('width="200"') == 2


def test_special_tokens_are_stripped_where_that_is_asked_for(tmp_path: Path, output: ProfiledModel, profile: Profile):
    from qairt.recipe.output_settings import ModelVisualization
    from qairt.stages.float_profile.pages import write_pages, write_predictions

    said = profile.prompts[0].model_copy(update={"text_raw": "Yes.<|end|>", "text_clean": "Yes."})
    changed = profile.model_copy(update={"prompts": [said, *profile.prompts[1:]]})
    for strip, clean in ((False, "Yes.<|end|>"), (True, "Yes.")):
        write_predictions(changed, tmp_path, strip_special_tokens=strip)
        line = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])
        assert (line["text_raw"], line["text_clean"]) == ("Yes.<|end|>", clean)
    item = tmp_path / "item"
    shutil.copytree(output.profile.parent, item)
    moved = output.moved(output.profile.parent, item)
    moved.profile.unlink()
    moved.profile.write_text(changed.model_dump_json())
    for strip, shown in ((False, True), (True, False)):
        write_pages(moved, tmp_path, strip_special_tokens=strip, settings=ModelVisualization())
        assert ("Yes.<|end|>" in (tmp_path / "predictions.md").read_text()) == shown


def test_nothing_is_measured_again_for_other_outputs(finished: LLMPipeline, recipe: Path):
    for change in (
        "stages.torch_profiler.output.prediction.save_dir=elsewhere",
        "stages.torch_profiler.output.visualization.enable=false",
        "stages.torch_profiler.output.extra.model.prediction.strip_special_tokens=true",
    ):
        assert not [
            item.name for item in opened(with_profiler(recipe), change).plan().stages[1].items if not item.cached
        ]


# Its place among the stages


def test_a_recipe_with_it_makes_everything_else_under_the_same_keys(recipe: Path):
    plain = {item.name: item.key for item in opened(recipe).plan().items}
    profiled = {item.name: item.key for item in opened(with_profiler(recipe)).plan().items}
    assert set(profiled) - set(plain) == {"torch_profiler all"}
    assert {name: profiled[name] for name in plain} == plain
    other = {item.name: item.key for item in opened(with_profiler(recipe, prompts=["Else"])).plan().items}
    assert other["torch_profiler all"] != profiled["torch_profiler all"]
    assert {name: other[name] for name in plain} == plain


def test_stages_after_it_find_what_stood_before_it(recipe: Path):
    pipeline = made(opened(with_profiler(recipe)), until="export")
    (item,) = next(stage for stage in pipeline.plan().stages if stage.stage.name == "export").items
    assert item.cached
    assert [source.name for source in item.sources] == ["quantization all"]
    assert [source.name for source in item.sources[0].sources] == ["model_loading all"]


@pytest.mark.parametrize("place", ["split_model", "export_bundle"])
def test_wherever_a_recipe_lists_it_it_comes_after_model_loading(recipe: Path, place: str):
    names = opened(with_profiler(recipe, after=place)).stage_names()
    assert names[:3] == ["model_loading", "torch_profiler", "quantization"]
    assert len(names) == len(set(names)) == len(opened(recipe).stage_names()) + 1


def test_a_recipe_without_it_gets_it_by_an_override(recipe: Path):
    names = opened(recipe, PREDICTIONS).stage_names()
    assert names[:3] == ["model_loading", "torch_profiler", "quantization"]


def test_clearing_it_with_all_that_follows_clears_it_alone(recipe: Path):
    pipeline = made(opened(with_profiler(recipe)), until="quantization")
    store = Store(pipeline.cache_dir)
    gone = store.with_dependents(store.entries("torch_profiler"), whole_stage="torch_profiler")
    assert {entry.stage for entry in gone} == {"torch_profiler"}
    everything = store.with_dependents(store.entries("model_loading"), whole_stage="model_loading")
    assert {entry.stage for entry in everything} >= {"model_loading", "torch_profiler", "quantization"}


def test_it_takes_nothing_but_the_float_model():
    with pytest.raises(
        ContractViolation, match="it profiles the float model as loaded, but quantization comes before it"
    ) as caught:
        TorchProfiler().validate([ModelLoading(), Quantization()], [])
    assert caught.value.remedy == "put torch_profiler right after model_loading"


def test_what_changes_the_work_is_in_the_key_and_nothing_else():
    assert TorchProfilerConfig.not_in_key == StageConfig.not_in_key


def test_with_the_profiler_off_there_are_times_and_no_operators(recipe: Path):
    pipeline = made(
        opened(with_profiler(recipe, enable=False, prompts=["Hi"], repeats=1), PREDICTIONS), until="torch_profiler"
    )
    (item,) = pipeline.plan().stages[1].items
    found = pipeline.cache.get(item.key, type(item.stage))
    assert isinstance(found, ProfiledModel)
    assert (found.operators, found.operators_markdown, found.trace) == (None, None, None)
    assert Profile.model_validate_json(found.profile.read_bytes()).profiled == []
    page = (outputs(pipeline, "viz") / "predictions.md").read_text()
    assert "operators" not in page


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prompts=[]", "prompts: input should have at least 1 item"),
        ('prompts=["a", "  "]', "prompt 2 is empty"),
        ("repeats=0", "repeats: input should be greater than 0"),
        ("device=tpu", "device: input should be 'auto', 'cpu' or 'cuda', not 'tpu'"),
        ("prompt=Hi", "prompt is not a setting of torch_profiler\n  did you mean prompts?"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(recipe: Path, change: str, message: str):
    with pytest.raises(RecipeError) as caught:
        opened(with_profiler(recipe), f"stages.torch_profiler.{change}")
    assert message in str(caught.value)


def test_a_gpu_that_is_not_there_is_told_before_work_starts(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    from qairt.stages.float_profile import hardware

    monkeypatch.setattr(
        hardware, "cuda_missing", lambda: "this machine has no NVIDIA GPU, or its driver is not installed"
    )
    with pytest.raises(
        ToolchainNotAvailable, match="no NVIDIA GPU.*\n  set it to cpu, or to auto to use a GPU if there is one"
    ):
        opened(with_profiler(recipe, device="cuda")).plan()


def test_a_prompt_that_does_not_fit_says_how_long_it_is(recipe: Path):
    pipeline = opened(with_profiler(recipe, prompts=["Hi", "x" * 60]))
    result = pipeline.construct(RunOptions(executor="inline", until="torch_profiler"))
    (failure,) = result.failed
    assert failure.what.startswith("prompt 2 has ")
    assert failure.what.endswith(" tokens; with 6 more for the answer it exceeds the model's context of 64")
    assert "stages.torch_profiler.prompts=" in (failure.remedy or "")
