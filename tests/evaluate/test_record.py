from __future__ import annotations

import json

import pytest

from qairt.engine.plan.costs import Cost, CostHistory
from qairt.errors import CacheError
from qairt.evaluate.record import (
    EvaluationRecord,
    MetricRecord,
    add_record,
    differences,
    differing_settings,
    find_record,
    recipe_of,
    records,
)

COST = Cost(stage="export", label="all", key="k", seconds=2.0, peak_rss=1, bytes=1, time=0.0, host="h")


def record(**changes) -> EvaluationRecord:
    said = {
        "target": "cpu",
        "metrics": {
            "ppl": MetricRecord(metric="perplexity", score=40.5, dataset="a.txt", dataset_digest="d", chunks=4)
        },
        "context_length": 512,
        "model": "/m.gguf",
        "model_digest": "1" * 64,
        "recipe": {"backend": "CPU", "stages": {"quantization": {"recipe": "lpbq.yaml"}}},
        "recipe_digest": "2" * 64,
        "artifacts": {"quantize": "3" * 64},
        "toolchain": "onnxruntime 1",
        "versions": {"torch": "2"},
        "time": 1.0,
        "seconds": 3.0,
    }
    return EvaluationRecord(**(said | changes))


def test_records_and_costs_share_a_file(tmp_path):
    """Also with a line that a killed writer left."""
    CostHistory(tmp_path).add(COST)
    assert add_record(tmp_path, record()) == 1
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"evaluation":1,"tar')
    assert add_record(tmp_path, record(target="torch")) == 2
    CostHistory(tmp_path).add(COST.model_copy(update={"seconds": 4.0}))
    assert [found.target for found in records(tmp_path)] == ["cpu", "torch"]
    assert find_record(tmp_path, 1) == record()
    expected = CostHistory(tmp_path).expect("export", "all", size=0, tools="", host="h")
    assert (expected.samples, expected.seconds) == (2, 3.0)


def test_metrics_json_holds_the_latest_of_each_target_and_the_stages(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"export": {"seconds": 2.0}}))
    for score, target in ((41.0, "cpu"), (40.0, "torch"), (42.0, "cpu")):
        add_record(tmp_path, record(target=target, metrics={"ppl": MetricRecord(metric="perplexity", score=score)}))
    held = json.loads(path.read_text())
    assert held["export"] == {"seconds": 2.0}
    assert {target: said["metrics"]["ppl"]["score"] for target, said in held["evaluate"].items()} == {
        "cpu": 42.0,
        "torch": 40.0,
    }
    assert held["evaluate"]["cpu"]["model_digest"] == "1" * 64


def test_infinite_scores_round_trip(tmp_path):
    add_record(tmp_path, record(metrics={"ppl": MetricRecord(metric="perplexity", score=float("inf"))}))
    json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert find_record(tmp_path, 1).scores == {"ppl": float("inf")}


def test_differences():
    other = record(
        target="quantsim",
        recipe={"backend": "CPU", "stages": {"quantization": {"recipe": "minmax.yaml"}}},
        artifacts={"quantization": "4" * 64},
        toolchain="onnxruntime 2",
        metrics={"ppl": MetricRecord(metric="perplexity", score=41.0, dataset="a.txt", dataset_digest="e", chunks=8)},
    )
    assert [(found.name, found.a, found.b) for found in differences(record(), other)] == [
        ("recipe: stages.quantization.recipe", "lpbq.yaml", "minmax.yaml"),
        ("toolchain", "onnxruntime 1", "onnxruntime 2"),
        ("target", "cpu", "quantsim"),
        ("items of quantize", "3" * 64, None),
        ("items of quantization", None, "4" * 64),
        ("ppl: dataset digest", "d", "e"),
        ("ppl: chunks", 4, 8),
    ]
    assert differences(record(), record(time=5.0, seconds=9.0)) == []


def test_an_unknown_evaluation(tmp_path):
    with pytest.raises(CacheError, match=r"there is no evaluation 1\n  qairt evaluate RECIPE$"):
        find_record(tmp_path, 1)
    add_record(tmp_path, record())
    with pytest.raises(
        CacheError, match=r"there is no evaluation 2\n  choose from 1 to 1: qairt evaluate RECIPE --list"
    ):
        find_record(tmp_path, 2)


def test_the_scored_recipe_leaves_out_where_work_is_stored():
    recipe = {"backend": "CPU", "cache_dir": "x", "evaluator": {"metrics": []}, "stages": {"export": {}}}
    assert recipe_of(recipe) == {"backend": "CPU", "stages": {"export": {}}}


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("minmax.yaml", "/opt/recipes/minmax.yaml", False),
        ("recipes/minmax.yaml", "/opt/recipes/minmax.yaml", False),
        ("minmax.yaml", "/opt/recipes/lpbq.yaml", True),
        ("other/minmax.yaml", "/opt/recipes/minmax.yaml", True),
        ("/usr/recipes/minmax.yaml", "/opt/recipes/minmax.yaml", True),
        ("minmax.yaml", "lpbq.yaml", True),
        (4, 8, True),
    ],
)
def test_a_path_as_written_equals_the_absolute_one(old, new, differs):
    assert bool(differing_settings({"stages": {"recipe": old}}, {"stages": {"recipe": new}})) is differs
    assert bool(differing_settings({"stages": {"recipe": new}}, {"stages": {"recipe": old}})) is differs
