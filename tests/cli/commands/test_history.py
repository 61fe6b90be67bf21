"""`qairt history`: finished runs, and what changed between two."""

from __future__ import annotations

import json
import time

import pytest

from qairt.evaluate.record import EvaluationRecord, MetricRecord, add_record, recipe_of


@pytest.fixture
def two_runs(qairt):
    """The same recipe twice, the second time with another setting."""
    assert qairt("run", "toy.yaml", "--executor", "inline", "--no-tui").code == 0
    assert qairt("run", "toy.yaml", "stages.fan.suffix=X", "--executor", "inline", "--no-tui").code == 0


def evaluated(place, recipe, score, target="cpu"):
    import yaml

    from qairt import keys

    ran = recipe_of(yaml.safe_load((place / "cache/pipeline_state/runs" / recipe / "recipe.yaml").read_text()))
    record = EvaluationRecord(
        target=target,
        metrics={"perplexity": MetricRecord(metric="perplexity", score=score, higher_is_better=False)},
        context_length=32,
        model="m",
        model_digest="d",
        recipe=ran,
        recipe_digest=keys.digest(ran),
        artifacts={},
        toolchain="t",
        versions={},
        time=time.time(),
        seconds=1.0,
    )
    add_record(place / "cache/pipeline_state", record)


def test_the_list(qairt, two_runs, place):
    evaluated(place, "0001", 12.5)
    evaluated(place, "0001", 9.0, target="torch")
    said = qairt("history", "toy.yaml")
    data = qairt("history", "toy.yaml", "--json").data
    assert data == qairt("history", "-r", "toy.yaml", "--json").data
    assert data == qairt("history", "--recipe", "toy.yaml", "--json").data
    assert said.code == 0
    head, second, first = said.out.splitlines()
    assert head.split() == [
        "run",
        "state",
        "when",
        "took",
        "CPU",
        "peak",
        "RAM",
        "results",
        "perplexity",
        "recipe",
    ]
    assert first.split()[:2] == ["0001", "done"]
    assert "12.50" in first
    assert second.split()[:2] == ["0002", "done"]
    assert "12.50" not in second
    listed = qairt("history", "--cache-dir", "cache", "--json").data["runs"]
    assert [run["summary"]["id"] for run in listed] == ["0002", "0001"], "the newest first"
    assert listed[1]["summary"]["metrics"] == {"ppl": 12.5}
    assert listed[0]["recipe_digest"] != listed[1]["recipe_digest"]


def test_two_runs_side_by_side(qairt, two_runs, place):
    evaluated(place, "0001", 10.0)
    evaluated(place, "0002", 11.0)
    said = qairt("history", "compare", "toy.yaml", "1", "2")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[:2] == ["what changed run 0001 run 0002", "stages.fan.suffix - X"]
    assert "reused 0 of 5 1 of 5" in lines
    assert "perplexity 10 11 +1 (+10.0 %)" in lines
    assert any(line.startswith("results on disk ") for line in lines)
    assert any(line.startswith("fan: on disk ") for line in lines)
    data = qairt("history", "--recipe", "toy.yaml", "compare", "0002", "cache/1", "--json").data
    assert data["a"]["id"] == "0002"
    assert data["recipe"] == [{"name": "stages.fan.suffix", "a": "X", "b": None, "share": 0.0, "least": 0.0}]
    assert data["metrics"][0]["b"] == 10.0


def test_a_run_with_itself(qairt, two_runs):
    said = qairt("history", "compare", "2", "2", "--cache-dir", "cache")
    assert said.out.startswith("The recipes are the same.")
    assert "the same" in said.out


def test_a_run_that_is_not_there(qairt, two_runs):
    said = qairt("history", "compare", "1", "7", "--cache-dir", "cache")
    assert said.code == 1
    assert "there is no finished run 7" in said.err
    assert "finished runs: 0001, 0002" in said.err
    other = qairt("history", "compare", "1", "llama/1", "--cache-dir", "cache")
    assert other.code == 2
    assert "no cache directory llama" in other.err


def test_before_the_first_run(qairt, place):
    said = qairt("history", "toy.yaml")
    assert said.code == 2
    assert "nothing has run in this cache directory" in said.err
    (place / "cache" / "pipeline_state").mkdir(parents=True)
    assert qairt("history", "toy.yaml").out == "No run has finished here yet.\n"
    assert json.loads(qairt("history", "-r", "toy.yaml", "--json").out) == {"runs": []}


@pytest.mark.parametrize("words", [[], ["1"], ["toy.yaml"], ["toy.yaml", "1"], ["1", "2", "3"]])
def test_compare_needs_two_runs(qairt, two_runs, words):
    said = qairt("history", "compare", *words)
    given = ", ".join(word for word in words if word != "toy.yaml") or "none"
    assert (said.code, said.err) == (
        2, f"Error: two runs are needed, given: {given}\n  qairt history compare [RECIPE] A B\n"
    )  # fmt: skip
