"""A finished run is planned once for whatever it is used for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_recipe import write_recipe

from qairt.engine.plan.plan import Planner
from qairt.engine.plan.planned import Plan
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError, RecipeError
from qairt.llm import LLMPipeline
from qairt.stages.model_loading import LoadedModel


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    recipe = write_recipe(tmp_path_factory.mktemp("finished"), backend="CPU", technique="minmax.yaml")
    pipeline = LLMPipeline.from_recipe(recipe, cache_dir=recipe.parent / "cache")
    assert pipeline.construct(RunOptions(executor="inline")).status == "done"
    return pipeline


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Grows by one with every plan."""
    made: list[Plan] = []
    plan = Planner.plan

    def counted(planner: Planner, made_items: frozenset[str] = frozenset()) -> Plan:
        made.append(plan(planner, made_items))
        return made[-1]

    monkeypatch.setattr(Planner, "plan", counted)
    return made


def test_evaluate_plans_once(finished: LLMPipeline, plans: list[Plan]) -> None:
    text = finished.cache_dir.parent / "text.txt"
    assert finished.evaluate("cpu", dataset=text, chunks=1)["perplexity"] > 1
    assert len(plans) == 1


def test_verify_plans_once(finished: LLMPipeline, plans: list[Plan]) -> None:
    assert len(finished.verify(tokens=4).rungs) == 5
    assert len(plans) == 1


def test_generate_plans_once(finished: LLMPipeline, plans: list[Plan]) -> None:
    with finished.generator("cpu") as generator:
        assert finished.answer(generator, "Hello", max_new_tokens=2, chat=False).result.tokens
        assert finished.answer(generator, "Again", max_new_tokens=2, chat=False).result.tokens
    assert len(plans) == 1


def test_export_plans_once(finished: LLMPipeline, plans: list[Plan], tmp_path: Path) -> None:
    assert finished.export(tmp_path / "same")
    assert len(plans) == 1
    assert finished.export(tmp_path / "ort", "ort")
    assert len(plans) == 2


def test_outputs_of_a_stage(finished: LLMPipeline) -> None:
    run = finished.finished()
    assert run.only_output("model_loading", LoadedModel).model.is_file()
    assert [item.name for item in run.items("quantize")] == [
        f"quantize ar{ar}-split{split}" for ar in (1, 8) for split in (1, 2, 3)
    ]
    assert sorted(run.quantized_parts) == [1, 8]
    with pytest.raises(RecipeError, match=r"the recipe has no stage nothing\n  add nothing to its stages"):
        run.items("nothing")


def test_before_a_run_it_names_what_is_missing(finished: LLMPipeline, tmp_path: Path) -> None:
    recipe = finished.recipe.source
    assert recipe is not None
    run = LLMPipeline.from_recipe(recipe, ["backend=CPU"], cache_dir=tmp_path).finished()
    with pytest.raises(CacheError) as raised:
        run.items("quantize")
    assert str(raised.value).startswith("quantize ar1-split1: 6 of 6 items of quantize are not built yet")
    assert raised.value.remedy == f"qairt run {recipe} backend=CPU --cache-dir {tmp_path}"
    own = LLMPipeline.from_recipe(recipe, ["backend=CPU"])
    assert own.cache_dir != tmp_path
    assert own.finished().recipe_arguments == f"{recipe} backend=CPU"
