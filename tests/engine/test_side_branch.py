"""A stage that stands aside is made like any other, and nothing is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy_stages as toy
from toy_side_branch import Measure, MeasureConfig

from qairt.engine.assembly import load_configs
from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.errors import ContractViolation
from qairt.recipe import Recipe

INLINE = RunOptions(jobs=2, executor="inline")


def stages(*beside: Measure) -> list[Any]:
    return [toy.Source(), *beside, toy.Fan(), toy.Upper(), toy.Join()]


def keys(made: Pipeline) -> dict[str, str]:
    return {item.name: item.key for item in made.plan().items}


def test_what_follows_is_made_from_what_stood_before(tmp_path: Path):
    made = Pipeline(stages(Measure()), tmp_path)
    result = made.construct(INLINE)
    assert result.status == "done", result.failed
    assert "measure all" in result.executed
    items = {item.name: item for item in made.plan().items}
    assert [source.name for source in items["fan ar1"].sources] == ["source all"]
    assert (items["join all"].entry.directory / "joined.txt").read_text() == "hello 1|HELLO 2"
    assert (items["measure all"].entry.directory / "measured.txt").read_text() == "5 long"


def test_with_it_and_without_everything_else_is_the_same_work(tmp_path: Path):
    plain = Pipeline(stages(), tmp_path)
    plain.construct(INLINE)
    for how in ("long", "wide"):
        beside = Pipeline(stages(Measure(MeasureConfig(how=how))), tmp_path)
        assert {name: key for name, key in keys(beside).items() if name != "measure all"} == keys(plain)
        assert beside.construct(INLINE).executed == ["measure all"]


def test_a_result_is_folded_around_it(tmp_path: Path):
    with_it = Pipeline(stages(Measure()), tmp_path / "a").construct(INLINE).output
    without = Pipeline(stages(), tmp_path / "b").construct(INLINE).output
    assert list(with_it) == list(without)
    assert type(with_it[()]) is type(without[()])
    until = RunOptions(executor="inline", until="measure")
    ((_, output),) = Pipeline(stages(Measure()), tmp_path / "a").construct(until).output.items()
    assert type(output) is toy.Text


def test_nothing_may_rest_on_what_it_makes(tmp_path: Path):
    class NeedsSource(Measure):
        name = "first"
        requires = ()

    with pytest.raises(ContractViolation, match="stages.first: no stage before it produces text"):
        Pipeline([NeedsSource(), toy.Source()], tmp_path)

    class Alone(toy.Source):
        name = "alone"
        is_side_branch = True

    with pytest.raises(ContractViolation, match="stages.upper: no stage before it produces text"):
        Pipeline([Alone(), toy.Upper()], tmp_path)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_wherever_a_recipe_lists_it_it_comes_after_what_it_requires(place: int):
    names = ["source", "fan", "join"]
    names.insert(place, "measure")
    known = {stage.name: stage for stage in (toy.Source, toy.Fan, toy.Join, Measure)}
    found = load_configs(Recipe({"stages": {name: {} for name in names}}), known)
    assert [stage.name for stage, _ in found] == ["source", "measure", "fan", "join"]
