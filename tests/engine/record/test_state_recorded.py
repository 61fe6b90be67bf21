"""`RunState` over whole recorded runs: good, failed, killed, torn, 90 graphs in each stage, six hours."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from simulated_runs import Kind, compile_plan, simulation_of, write_run

from qairt.engine.record import events as ev
from qairt.engine.record.events import EventTail, read_events
from qairt.engine.record.item_state import BUSY
from qairt.engine.record.state import RunState


def folded(path: Path) -> RunState:
    state = RunState()
    for event in read_events(path):
        state.apply(event)
    return state


def statuses(state: RunState) -> Counter[str]:
    return Counter(item.status for item in state.items.values())


def test_a_good_run(tmp_path):
    folder = write_run(tmp_path, "good")
    state = folded(folder.events)
    assert folder.liveness() == "over"
    assert state.status == "done"
    assert statuses(state) == {"done": 40}
    assert len(state.stages()) == 10
    assert [stage for _, stage in state.stage_starts] == state.stages()
    assert state.seq == len(read_events(folder.events))
    assert state.seconds == state.now - state.started
    assert all(item.seconds > 0 and item.bytes and item.directory and item.log for item in state.items.values())
    assert state.peak_ram == max(sample.ram for sample in state.samples)


def test_it_never_goes_back(tmp_path):
    state, made = RunState(), 0
    for event in read_events(write_run(tmp_path, "good").events):
        before = state.seq
        state.apply(event)
        assert state.seq == before + 1
        assert state.count("running") <= state.jobs
        assert state.count("done") >= made
        made = state.count("done")
        for item in state.items.values():
            if item.status in ("ready", "running", "done"):
                assert all(state.items[tuple(name.split(" ", 1))].status == "done" for name in item.sources)


def test_a_failing_run(tmp_path):
    state = folded(write_run(tmp_path, "failing").events)
    assert state.status == "failed"
    assert statuses(state) == {"done": 38, "failed": 1, "blocked": 1}
    failed = state.items["generate_context_binary", "split3"]
    assert failed.error is not None
    assert failed.error["remedy"].startswith("give num_splits")
    assert failed.error["log_tail"][-1] == "[ERROR] finalize failed: 6020"
    assert failed.seconds > 0
    assert state.items["export_bundle", "all"].message == "generate_context_binary split3 failed"


@pytest.mark.parametrize("kind", ["killed", "torn"])
def test_a_run_that_was_killed(tmp_path, kind: Kind):
    folder = write_run(tmp_path, kind)
    state = folded(folder.events)
    assert folder.liveness() == "interrupted"
    assert state.status == "running"
    busy, made = state.count(*BUSY), state.count("done")
    assert busy
    state.end_unexpectedly()
    assert state.status == "interrupted"
    assert statuses(state) == {"done": made, "interrupted": 40 - made}
    assert state.seconds == state.now - state.started
    state.end_unexpectedly()
    assert state.status == "interrupted"


def test_a_torn_line_is_taken_once_its_rest_is_there(tmp_path):
    whole = write_run(tmp_path / "whole", "killed").events.read_bytes()
    torn = write_run(tmp_path / "torn", "torn").events
    tail = EventTail(torn)
    first = tail.read()
    assert tail.unknown == 0
    assert whole.count(b"\n") == len(first) + 1
    assert tail.read() == []
    whole = whole.replace(str(tmp_path / "whole").encode(), str(tmp_path / "torn").encode())
    with torn.open("ab") as file:
        file.write(whole[torn.stat().st_size :])
    (last,) = tail.read()
    assert last.seq == first[-1].seq + 1
    assert tail.unknown == 0


def test_ninety_graphs(tmp_path):
    state = folded(write_run(tmp_path, "graphs").events)
    assert state.status == "done"
    by_stage = Counter(stage for stage, _ in state.items)
    assert by_stage["convert"] == by_stage["quantize"] == by_stage["split_model"] == 90
    assert by_stage["mha_to_sha_conversion"] == 80
    assert by_stage["generate_context_binary"] == 9
    assert statuses(state) == {"done": sum(by_stage.values())}
    item = state.items["convert", "cl4096-ar128-split9"]
    assert item.coord == (("cl", 4096), ("ar", 128), ("split", 9))
    assert len(state.items["generate_context_binary", "split9"].sources) == 10


def test_six_hours_are_replayed_in_no_time(tmp_path):
    path = write_run(tmp_path, "long").events
    began = time.process_time()
    state = folded(path)
    assert time.process_time() - began < 1.5
    assert state.status == "done"
    assert 5.5 * 3600 < state.seconds < 6.5 * 3600
    assert 24_000 < state.seq < 27_000
    assert len(state.samples) == 3600  # the last hour is kept


def test_the_same_whenever_it_is_made(tmp_path):
    first, second = (list(simulation_of("good").events(write_run(tmp_path / name, "good"), tmp_path)) for name in "ab")
    assert [(event.time, event.type) for event in first] == [(event.time, event.type) for event in second]


def test_the_plan_of_smollm2():
    entries = compile_plan()
    assert len(entries) == 40
    names = {f"{entry.stage} {entry.label}" for entry in entries}
    assert all(source in names for entry in entries for source in entry.sources)
    assert isinstance(entries[0], ev.PlannedEntry)
