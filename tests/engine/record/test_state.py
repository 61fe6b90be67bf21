"""`RunState` over recorded events: a run that went well, one that failed, one from a newer version."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from toy_stages import Fan, FanConfig, Source, SourceConfig

from qairt import Pipeline, RunOptions
from qairt.engine.record import events as ev
from qairt.engine.record.events import parse_event, read_events
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState


def planned(label: str, cached: bool = False, seconds: float = 10.0) -> dict[str, Any]:
    return {
        "stage": "convert",
        "label": label,
        "key": "k",
        "cached": cached,
        "reason": "num_splits: 3 -> 4",
        "seconds": seconds,
        "from_history": True,
    }


def started(label: str, time: float) -> dict[str, Any]:
    return {
        "type": "item_started",
        "time": time,
        "stage": "convert",
        "label": label,
        "key": "k",
        "reason": "new",
        "pid": 7,
        "log": f"logs/{label}.log",
        "threads": 2,
    }


RUN: list[dict[str, Any]] = [
    {
        "type": "run_started",
        "time": 100.0,
        "run_id": "r1",
        "recipe": "llama.yaml",
        "cache_dir": "out",
        "pid": 1,
        "jobs": 2,
        "memory": 2**30,
        "items": [planned("1", cached=True), planned("2"), planned("3"), planned("4", seconds=20.0)],
    },
    {"type": "log", "time": 100.5, "level": "warning", "message": "manifest.json was damaged"},
    {"type": "cache_hit", "time": 101.0, "stage": "convert", "label": "1", "key": "k"},
    {"type": "stage_started", "time": 101.0, "stage": "convert"},
    started("2", 102.0),
    {"type": "item_progress", "time": 103.0, "stage": "convert", "label": "2", "fraction": 0.5, "message": "half"},
    {"type": "resource_sample", "time": 104.0, "ram": 5, "cpu_percent": 90.0},
    {
        "type": "item_finished",
        "time": 112.0,
        "stage": "convert",
        "label": "2",
        "key": "k",
        "seconds": 10.0,
        "peak_rss": 99,
        "bytes": 1000,
        "directory": "d",
    },
    started("3", 112.0),
    {
        "type": "item_failed",
        "time": 113.0,
        "stage": "convert",
        "label": "3",
        "error": {"type": "ItemFailed", "what": "killed", "signal": 9},
        "log": "logs/3.log",
    },
    {"type": "item_skipped", "time": 113.0, "stage": "convert", "label": "4", "because": "convert 3 failed"},
    {"type": "stage_finished", "time": 113.0, "stage": "convert"},
    {
        "type": "run_finished",
        "time": 114.0,
        "status": "failed",
        "seconds": 14.0,
        "executed": 1,
        "cached": 1,
        "failed": 1,
    },
]


def fold(records: list[dict[str, Any]]) -> RunState:
    state = RunState()
    for record in records:
        state.apply(parse_event(record))
    return state


def test_before_anything_happened():
    state = RunState()
    assert (state.status, state.items) == ("planned", {})


def test_the_plan_is_there_at_once():
    state = fold(RUN[:1])
    assert (state.run_id, state.recipe, state.status, state.started) == ("r1", "llama.yaml", "running", 100.0)
    assert list(state.items) == [("convert", label) for label in "1234"]
    assert state.count("ready") == 4
    item = state.items["convert", "4"]
    assert (item.reason, item.expected_seconds) == ("num_splits: 3 -> 4", 20.0)


def test_half_way():
    state = fold(RUN[:7])
    item = state.items["convert", "2"]
    assert (item.status, item.started, item.fraction, item.message) == ("running", 102.0, 0.5, "half")
    assert (item.log, item.reason) == ("logs/2.log", "new")
    assert state.now == 104.0
    assert state.last_sample is not None
    assert (state.last_sample.ram, state.last_sample.gpu_memory) == (5, None)
    assert [line.message for line in state.log] == ["manifest.json was damaged"]


def test_a_run_that_failed():
    state = fold(RUN)
    assert (state.status, state.seconds, state.now) == ("failed", 14.0, 114.0)
    assert [item.status for item in state.items.values()] == ["cached", "done", "failed", "blocked"]
    done, failed, skipped = list(state.items.values())[1:]
    assert (done.seconds, done.peak_rss, done.bytes, done.fraction) == (10.0, 99, 1000, 1.0)
    assert failed.error == {"type": "ItemFailed", "what": "killed", "signal": 9}
    assert failed.log == "logs/3.log"
    assert skipped.message == "convert 3 failed"
    assert state.count("done", "cached") == 2


@pytest.mark.parametrize("status", ["done", "failed", "interrupted"])
def test_how_a_run_ended(status):
    assert fold([*RUN[:1], RUN[-1] | {"status": status}]).status == status


def test_the_fold_is_pure():
    events = [parse_event(record) for record in RUN]
    before = deepcopy(events)
    one, two = RunState(), RunState()
    for event in events:
        one.apply(event)
    for event in events[:5]:
        two.apply(event)
    for event in events[5:]:
        two.apply(event)
    assert one == two == fold(RUN)
    assert events == before


def test_events_of_items_that_were_not_announced_make_them():
    state = fold(RUN[2:])
    assert [item.status for item in state.items.values()] == ["cached", "done", "failed", "blocked"]


def test_clocks_that_go_back_do_not():
    assert fold([*RUN[:1], RUN[1] | {"time": 1.0}]).now == 100.0


def test_an_event_of_an_unknown_class_changes_nothing():
    class Newer(ev.Event):
        type: str = "newer"

    state, before = fold(RUN[:5]), fold(RUN[:5])
    state.apply(Newer(time=0.0))
    assert state == before


# Read from a file


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_a_newer_versions_records_are_skipped_and_its_fields_passed_over(tmp_path):
    newer = [
        {"type": "item_paused", "time": 105.0, "stage": "convert", "label": "2"},
        RUN[-1] | {"status": "paused"},
        {"time": 1.0},
        ["not", "a", "record"],
        7,
    ]
    with pytest.raises(ValidationError):
        parse_event(newer[0])
    records = [*RUN[:5], *newer, *(record | {"colour": "blue"} for record in RUN[5:])]
    state = RunState()
    for event in read_events(write(tmp_path / "events.jsonl", records)):
        state.apply(event)
    assert state == fold(RUN)


def test_a_torn_last_line_and_a_missing_file(tmp_path):
    path = write(tmp_path / "events.jsonl", RUN[:4])
    with path.open("a") as file:
        file.write(json.dumps(RUN[4])[:40])
    assert len(read_events(path)) == 4
    assert read_events(tmp_path / "gone.jsonl") == []


@pytest.mark.parametrize("fail_at", [None, 1])
def test_the_file_of_a_run_tells_what_its_listeners_heard(tmp_path, fail_at):
    heard = RunState()
    pipeline = Pipeline([Source(SourceConfig()), Fan(FanConfig(fail_at=fail_at))], tmp_path)
    pipeline.add_listener(heard.apply)
    result = pipeline.construct(RunOptions(executor="inline"))
    (path,) = (pipeline.state_folder / "runs").glob("*/events.jsonl")
    read = RunState()
    for event in read_events(path):
        read.apply(event)
    assert read == heard
    assert read.status == result.status == ("failed" if fail_at else "done")
    assert [item.status for item in read.items.values() if item.stage == "source"] == ["done"]
    assert read.count("failed") == (1 if fail_at else 0)


def test_a_made_item_that_was_cleared_is_not_made_and_is_again_when_it_is_back():
    state = RunState(items={("a", "x"): ItemState("a", "x", key="k1", status="done", ended=100.0)})
    item = state.items["a", "x"]
    assert not state.show_cleared({"k2": 200.0, "k1": 50.0}), "it was cleared before it was made again"
    assert state.show_cleared({"k1": 200.0})
    assert (item.status, item.cleared, state.count("done")) == ("cleared", 200.0, 0)
    assert state.ended("done") == [item], "how the run ended stays"
    assert not state.show_cleared({"k1": 200.0})
    assert state.show_cleared({})
    assert (item.status, item.cleared) == ("done", None)
    item.status = "on_demand"
    assert not state.show_cleared({"k1": 200.0}), "it is not there either way"
