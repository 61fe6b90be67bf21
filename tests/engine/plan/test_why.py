"""Why items run: the difference of keys, where it begins, and how many items it explains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy_stages as toy
import yaml
from tiny_recipe import write_recipe

from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.announce import planned_entries
from qairt.engine.plan.planned import short
from qairt.engine.plan.why import key_diff, summary
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe import Recipe

INLINE = RunOptions(jobs=1, executor="inline")


def toys(folder: Path, stages: str, *words: str) -> Pipeline:
    """A pipeline of toy stages from a recipe file, as a user writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.yaml"
    path.write_text(stages)
    recipe = Recipe.from_file(path)
    recipe.override(words)
    settings = recipe.get("stages", {})
    kinds = (toy.Source, toy.Fan, toy.Upper, toy.Join)
    return Pipeline(
        [kind(kind.config_type.model_validate(settings.get(kind.name) or {})) for kind in kinds],
        folder / "cache",
        recipe=recipe,
    )


PLAIN = "stages:\n  source: {}\n  fan:\n    suffix: a  # what is put behind\n    arn: [1, 2]\n  upper: {}\n  join: {}\n"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert toys(tmp_path, PLAIN).construct(INLINE).status == "done"
    return tmp_path


def differing(folder: Path, text: str, *words: str) -> tuple[Pipeline, dict[str, Any]]:
    pipeline = toys(folder, text, *words)
    plan = pipeline.plan()
    return pipeline, {item.name: key_diff(plan, item, pipeline.recipe) for item in plan.items}


def test_a_damaged_result_is_told_as_that_by_every_plan_until_it_is_made_again(made: Path) -> None:
    *_, item = toys(made, PLAIN).plan().items
    assert item.entry is not None
    (item.entry.directory / "output.json").write_text("{}")
    for _ in range(2):
        pipeline = toys(made, PLAIN)
        again = next(other for other in pipeline.plan().to_run() if other.name == item.name)
        assert again.reason == "its result was damaged or removed"
        assert again.stale
        (line,) = summary(pipeline.plan(), pipeline.recipe).lines()
        assert line == "1 of 1 stale item: its result was damaged or removed"
    assert toys(made, PLAIN).construct(INLINE).executed == [item.name]
    assert toys(made, PLAIN).plan().to_run() == []


def test_a_setting_is_the_root_of_all_that_follows(made: Path) -> None:
    pipeline, diffs = differing(made, PLAIN.replace("suffix: a", "suffix: b"))
    own = diffs["fan ar1"]
    (row,) = own.rows
    assert (row.field, row.cached, row.now, row.root) == ("stages.fan.suffix", "a", "b", True)
    assert row.origin == f"{made / 'toy.yaml'}:4"
    assert row.path == ("stages", "fan", "suffix")
    assert own.downstream == ("join all",)
    assert diffs["fan ar2"].downstream == ("upper ar2", "join all")
    joined = diffs["join all"]
    assert [row.field for row in joined.rows] == ["stages.fan.suffix", "input fan ar1", "input upper ar2"]
    assert [row.root for row in joined.rows] == [True, False, False]
    assert joined.root == "stages.fan.suffix a → b (at fan ar1)"
    assert joined.cached_key != joined.item.key
    assert joined.cached_bytes > 0
    assert diffs["source all"].rows == ()
    assert diffs["source all"].cause is None


def test_what_is_equal_is_told_too(made: Path) -> None:
    _, diffs = differing(made, PLAIN.replace("suffix: a", "suffix: b"))
    same = {row.field: (row.now, row.origin) for row in diffs["fan ar1"].same}
    assert "stages.fan.suffix" not in same
    assert same["stages.fan.sleep"] == ("0.0", "default")
    assert "input source all" in same


def test_every_item_that_runs_names_a_root(made: Path) -> None:
    for text, words in (
        (PLAIN.replace("suffix: a", "suffix: b"), ()),
        (PLAIN.replace("[1, 2]", "[1, 2, 3]"), ()),
        (PLAIN.replace("[1, 2]", "[2]"), ()),
        (PLAIN, ("stages.source.text=other",)),
    ):
        pipeline = toys(made, text, *words)
        for item in pipeline.plan().to_run():
            assert item.cause is not None
            assert item.cause.text, item.name
    forced = toys(made, PLAIN).plan(RunOptions(force=frozenset({"upper"}))).to_run()
    assert [(item.name, item.cause and item.cause.kind) for item in forced] == [("upper ar2", "forced")]


def test_a_source_that_fell_out_is_named(made: Path) -> None:
    _, diffs = differing(made, PLAIN.replace("[1, 2]", "[2]"))
    assert diffs["join all"].root == "fan ar1 is no longer an input"


def test_the_root_is_found_behind_a_source_that_is_cached(made: Path) -> None:
    other = PLAIN.replace("suffix: a", "suffix: b")
    toys(made, other).construct(RunOptions(jobs=1, executor="inline", until="fan"))
    _, diffs = differing(made, other)
    assert diffs["fan ar2"].cause is None
    assert diffs["upper ar2"].root == "stages.fan.suffix a → b (at fan ar2)"


def test_origins(made: Path) -> None:
    _, diffs = differing(made, PLAIN, "stages.fan.suffix=c")
    (row,) = diffs["fan ar1"].rows
    assert (row.origin, row.path) == ("command line", ())
    _, diffs = differing(made, PLAIN.replace("    suffix: a  # what is put behind\n", ""))
    assert diffs["fan ar1"].rows[0].origin == "default"
    at_one = PLAIN.replace("    arn: [1, 2]\n", "    overrides:\n    - where: {ar: 1}\n      set:\n        suffix: z\n")
    _, diffs = differing(made, at_one)
    assert diffs["fan ar1"].rows[0].origin.endswith("toy.yaml:8")
    assert diffs["fan ar1"].rows[0].path == ("stages", "fan", "overrides", "0", "set", "suffix")
    assert diffs["fan ar2"].rows == ()


def test_a_changed_file_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one")
    text = PLAIN.replace("source: {}", f"source: {{file: {tmp_path / 'in.txt'}}}")
    toys(tmp_path, text).construct(INLINE)
    (tmp_path / "in.txt").write_text("two")
    pipeline, diffs = differing(tmp_path, text)
    (row,) = diffs["source all"].rows
    assert (row.field, row.origin) == ("source.file", "a file's content")
    found = summary(pipeline.plan(), pipeline.recipe)
    assert found.lines()[0] == "1 changed file (source.file) explains 5 of 5 stale items"


def test_the_summary_counts_what_each_cause_explains(made: Path) -> None:
    pipeline = toys(made, PLAIN.replace("suffix: a", "suffix: b"))
    found = summary(pipeline.plan(), pipeline.recipe)
    assert (found.items, found.cached, found.stale, found.new) == (5, 1, 4, 0)
    assert found.lines() == [
        "1 recipe change (stages.fan.suffix) explains 4 of 4 stale items",
        "  with stages.fan.suffix back at a, 5 of 5 items would be reused",
    ]
    assert toys(made, PLAIN).plan().to_run() == []


def test_what_two_causes_made_stale_does_not_come_back_with_one(made: Path) -> None:
    two = PLAIN.replace("suffix: a", "suffix: b").replace("upper: {}", "upper: {sleep: 0.001}")
    pipeline = toys(made, two)
    shares = summary(pipeline.plan(), pipeline.recipe).root_causes
    told = {share.cause.leaves[0].field: (share.stale, share.reverted) for share in shares}
    assert told == {"stages.fan.suffix": (3, 2), "stages.upper.sleep": (1, 0)}


def test_nothing_made_yet(tmp_path: Path) -> None:
    pipeline = toys(tmp_path, PLAIN)
    plan = pipeline.plan()
    assert summary(plan, pipeline.recipe).lines() == ["5 new items: not built yet"]
    diff = key_diff(plan, next(plan.items), pipeline.recipe)
    assert (diff.rows, diff.cached_key, diff.root) == ((), "", "not built yet")
    assert {row.field for row in diff.same} == {"stages.source.text", "version of source"}


def test_the_plan_is_announced_with_what_was_made_before(made: Path) -> None:
    entries = planned_entries(toys(made, PLAIN.replace("suffix: a", "suffix: b")).plan())
    state = RunState.of_plan(entries)
    assert [(item.name, item.status) for item in state.items.values()] == [
        ("source all", "cached"),
        ("fan ar1", "stale"),
        ("fan ar2", "stale"),
        ("upper ar2", "stale"),
        ("join all", "stale"),
    ]
    assert state.items["join", "all"].sources == ("fan ar1", "upper ar2")
    new = RunState.of_plan(planned_entries(toys(made, PLAIN.replace("[1, 2]", "[1, 2, 3]")).plan()))
    assert new.items["fan", "ar3"].status == "waiting"


@pytest.mark.parametrize(
    ("value", "told"), [("f" * 64, "ffffffff"), ([1, 2], "[1,2]"), ("x" * 61, "x" * 57 + "…"), (None, "null")]
)
def test_values_are_short(value: Any, told: str) -> None:
    assert short(value) == told


def test_one_field_of_a_real_recipe_marks_just_the_items_that_hold_it(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, backend="CPU", technique="minmax.yaml")
    cache = tmp_path / "cache"
    assert LLMPipeline.from_recipe(path, cache_dir=cache).construct(INLINE).status == "done"
    content = yaml.safe_load(path.read_text())
    content["stages"]["quantization"]["kv_bitwidth"] = 16
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=cache)
    plan = pipeline.plan()
    assert {item.stage.name for item in plan.items if item.cached} == {"model_loading"}
    for item in plan.items:
        holds = any("kv_bitwidth" in row.field for row in key_diff(plan, item, pipeline.recipe).rows)
        assert holds is not item.cached
    del content["stages"]["quantization"]["kv_bitwidth"]
    content["stages"]["quantization"]["recipe"] = "lpbq.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=cache)
    plan = pipeline.plan()
    quantized = next(item for item in plan.items if item.stage.name == "quantization")
    row = key_diff(plan, quantized, pipeline.recipe).rows[0]
    assert (row.field, row.cached, row.now) == ("quantization.technique.technique", "minmax", "lpbq")
    assert row.origin.endswith("recipes/quantization/lpbq.yaml:2")


def test_overrides_that_are_for_no_item_are_refused(tmp_path: Path) -> None:
    overrides = "".join(f"\n    - {{where: {{{where}}}, set: {{suffix: x}}}}" for where in ("ar: 1", "ar: 3", "cl: 1"))
    pipeline = toys(tmp_path, PLAIN.replace("    arn: [1, 2]\n", f"    arn: [1, 2]\n    overrides:{overrides}\n"))
    for attempt in (pipeline.plan, lambda: pipeline.construct(INLINE)):
        with pytest.raises(RecipeError) as caught:
            attempt()
        assert [str(fault) for fault in caught.value.faults] == [
            f"{tmp_path}/toy.yaml:{line}: stages.fan.overrides.{index}.where: no item has {what}\n"
            "  the items of fan: ar1, ar2"
            for line, index, what in ((8, 1, "ar 3"), (9, 2, "cl 1"))
        ]
    assert list(pipeline.cache.entries()) == []
    assert list((pipeline.state_folder / "runs").iterdir()) == []
