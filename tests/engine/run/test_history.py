"""Finished runs in `history.jsonl`, beside the costs and evaluations that stand there too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import recorded_runs as recorded
from toy_stages import Fan, FanConfig, Join, Source, SourceConfig

from qairt import Pipeline, RunOptions
from qairt.engine.plan.costs import CostHistory
from qairt.engine.record.folder import RunFolder
from qairt.engine.record.summary import read_state, write_summary
from qairt.engine.run.history import add_run, find_run_record, runs_of
from qairt.errors import CacheError
from qairt.evaluate.record import records
from qairt.files import read_lines
from qairt.recipe import Recipe

INLINE = RunOptions(executor="inline")


def pipeline(place: Path, **fan: Any) -> Pipeline:
    recipe = Recipe({"stages": {"source": {}, "fan": fan, "join": {}}})
    return Pipeline([Source(SourceConfig()), Fan(FanConfig(**fan)), Join()], place, recipe=recipe)


def lines(made: Pipeline) -> list[dict[str, Any]]:
    return [line for line in read_lines(made.state_folder / "history.jsonl") if "run" in line]


def test_one_line_a_finished_run(tmp_path):
    made = pipeline(tmp_path)
    made.construct(INLINE)
    pipeline(tmp_path, suffix="!").construct(INLINE)
    pipeline(tmp_path, fail_at=1).construct(INLINE)
    assert [(line["summary"]["id"], line["summary"]["state"]) for line in lines(made)] == [
        ("0001", "done"),
        ("0002", "done"),
        ("0003", "failed"),
    ]
    first, second, third = runs_of(made.state_folder)
    assert first.recipe == {"stages": {"source": {}, "fan": {}, "join": {}}}
    assert second.recipe == {"stages": {"source": {}, "fan": {"suffix": "!"}, "join": {}}}
    assert len({record.recipe_digest for record in (first, second, third)}) == 3
    assert first.tools["packages"]["qairt"]
    assert first.sizes["join"] > 0
    assert first.size == sum(first.sizes.values()), "what stages share counts where it is first"
    assert [stage.stage for stage in first.summary.stages] == ["source", "fan", "join"]
    assert third.summary.failed == ("fan ar1",)


def test_a_content_that_stages_share_counts_once(tmp_path):
    made = pipeline(tmp_path, arn=[7])
    made.construct(INLINE)
    (record,) = runs_of(made.state_folder)
    shown = record.with_true_sizes()
    assert shown.bytes == record.size
    assert {stage.stage: stage.bytes for stage in shown.stages} == record.sizes


def test_other_readers_pass_it_over(tmp_path):
    made = pipeline(tmp_path)
    made.construct(INLINE)
    assert records(made.state_folder) == []
    history = CostHistory(made.state_folder)
    assert history.expect("fan", "ar1", size=0, tools="", host="elsewhere").samples == 1
    assert all(item.from_history for item in pipeline(tmp_path, suffix="!").plan().items)


def test_it_outlives_the_folder(tmp_path):
    made = pipeline(tmp_path)
    made.construct(INLINE)
    (before,) = runs_of(made.state_folder)
    shutil.rmtree(made.state_folder / "runs" / "0001")
    assert runs_of(made.state_folder) == [before]
    pipeline(tmp_path, suffix="!").construct(INLINE)  # its number is given again
    assert [record.id for record in runs_of(made.state_folder)] == ["0001", "0001"]
    assert find_run_record(made.state_folder, "1").recipe != before.recipe


def test_what_was_measured_later_is_in_it(tmp_path):
    made = pipeline(tmp_path)
    made.construct(INLINE)
    folder = RunFolder(made.state_folder / "runs" / "0001")
    summary = json.loads((folder.path / "summary.json").read_text())
    folder.write("summary.json", summary | {"metrics": {"ppl": 12.5}})
    (record,) = runs_of(made.state_folder)
    assert record.summary.metrics == {"ppl": 12.5}


def test_a_run_that_was_killed_and_one_of_an_older_version_are_known_by_their_folders(tmp_path):
    recorded.record(tmp_path, "0001", recorded.good())
    recorded.record(tmp_path, "0002", recorded.half())
    assert [(record.id, record.summary.state) for record in runs_of(tmp_path)] == [
        ("0001", "done"),
        ("0002", "interrupted"),
    ]


def test_a_torn_line_costs_itself(tmp_path):
    folder = recorded.record(tmp_path, "0001", recorded.good())
    (tmp_path / "history.jsonl").write_text('{"run":1,"summary":{"id":"00')
    write_summary(folder, read_state(folder))
    add_run(folder, {}, 0)
    text = (tmp_path / "history.jsonl").read_text()
    assert len(text.splitlines()) == 2
    assert text.endswith("\n")
    assert [record.id for record in runs_of(tmp_path)] == ["0001"]


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(CacheError, match="no finished run 4") as nothing:
        find_run_record(tmp_path, "4")
    assert nothing.value.remedy == "nothing was run in this cache yet"
    recorded.record(tmp_path, "0001", recorded.good())
    with pytest.raises(CacheError) as other:
        find_run_record(tmp_path, "4")
    assert other.value.remedy == "finished runs: 0001"
