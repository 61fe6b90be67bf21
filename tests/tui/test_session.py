"""The three sessions give a screen the same state, whatever becomes of the run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_stages as toy
import wait

from qairt.engine.pipeline import Pipeline
from qairt.engine.record.folder import RunFolder, live_runs, run_folders
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError
from qairt.project import Project
from qairt.tui.session import EngineSession, HostSession, ReplaySession, ThreadSession

OPTIONS = RunOptions(jobs=2, memory=10**9)


def pipeline(folder: Path, **fan: object) -> Pipeline:
    return Pipeline([toy.Source(), toy.Fan(toy.FanConfig.model_validate(fan)), toy.Upper(), toy.Join()], folder)


def until(session: EngineSession, holds: Callable[[RunState], bool], seconds: float = 20.0) -> RunState:
    def is_reached() -> bool:
        session.poll()
        return holds(session.state)

    wait.until(is_reached, seconds, describe=lambda: session.state)
    return session.state


def statuses(state: RunState) -> dict[str, str]:
    return {item.name: item.status for item in state.items.values()}


def test_all_three_show_the_same(tmp_path):
    thread = ThreadSession(pipeline(tmp_path, sleep=0.3), OPTIONS, RunState())
    worker = threading.Thread(target=thread.execute)
    worker.start()
    until(thread, lambda state: bool(state.run_id))
    assert thread.folder is not None
    host = HostSession(thread.folder)
    until(host, lambda state: state.status == "done")
    worker.join()
    until(thread, lambda state: state.status == "done")
    replay = ReplaySession(thread.folder)
    until(replay, lambda state: state.status == "done")
    assert statuses(thread.state) == statuses(host.state) == statuses(replay.state)
    assert set(statuses(thread.state).values()) == {"done"}
    assert thread.state.seq == host.state.seq == replay.state.seq
    assert (thread.readonly, host.readonly, replay.readonly) == (False, False, True)
    assert thread.result is not None
    assert thread.result.status == "done"


def test_a_request_is_pending_until_the_run_answers(tmp_path):
    thread = ThreadSession(pipeline(tmp_path, sleep=1.0), OPTIONS, RunState())
    worker = threading.Thread(target=thread.execute)
    worker.start()
    until(thread, lambda state: state.count("running") > 0)
    assert thread.folder is not None
    host = HostSession(thread.folder)
    until(host, lambda state: bool(state.items))
    host.request("pause")
    assert list(host.pending.values()) == ["pause"]
    until(host, lambda state: state.paused)
    assert host.pending == {}
    until(thread, lambda state: state.paused)
    thread.request("resume")
    until(thread, lambda state: state.status == "done")
    worker.join()


def test_why_a_run_could_not_start_is_kept(tmp_path):
    (tmp_path / "pipeline_state").write_text("in the way")
    session = ThreadSession(pipeline(tmp_path), OPTIONS, RunState())
    session.execute()
    assert isinstance(session.error, CacheError)
    assert (session.folder, session.over.is_set()) == (None, True)
    session.request("pause")
    assert session.pending == {}


def test_a_killed_host_is_interrupted_within_two_seconds(tmp_path):
    words = "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path; import test_session as t;"
    words += "t.pipeline(Path(sys.argv[1]), sleep=30.0).construct(t.OPTIONS)"
    child = subprocess.Popen([sys.executable, "-c", words, str(tmp_path), str(Path(__file__).parent)])
    wait.until(lambda: live_runs(tmp_path / "pipeline_state"))
    (folder,) = live_runs(tmp_path / "pipeline_state")
    session = HostSession(folder)
    until(session, lambda state: state.count("done") == 1 and state.count("running") > 0)
    child.kill()
    child.wait()
    state = until(session, lambda state: state.status == "interrupted")
    assert set(statuses(state).values()) == {"done", "interrupted"}


def test_a_file_of_events_that_grows_by_parts_of_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("qairt.tui.session._POLL_INTERVAL", 0.01)
    made = pipeline(tmp_path / "cache")
    made.construct(OPTIONS)
    (source,) = run_folders(made.state_folder)
    data = source.events.read_bytes()
    folder = RunFolder(tmp_path / "0007")
    folder.path.mkdir()
    (folder.path / "host.json").write_text(
        (source.path / "host.json").read_text().replace('"host": "', '"host": "not-')
    )
    folder.events.write_bytes(data[:100])
    session = HostSession(folder)
    wait.until(lambda: session.tail._offset == 100)
    assert session.poll() == []
    for start in range(100, len(data), 700):
        with folder.events.open("ab") as file:
            file.write(data[start : start + 700])
        wait.until(lambda: session.tail._offset == folder.events.stat().st_size)
    until(session, lambda state: state.status == "done")
    assert session.state.seq == data.count(b"\n")


def test_a_newer_qairts_records_are_passed_over_and_said(tmp_path):
    made = pipeline(tmp_path)
    made.construct(OPTIONS)
    (folder,) = run_folders(made.state_folder)
    lines = folder.events.read_text().splitlines(keepends=True)
    lines.insert(1, json.dumps({"v": 2, "type": "item_moved", "seq": 1}) + "\n")
    folder.events.write_text("".join(lines))
    session = ReplaySession(folder)
    until(session, lambda state: state.status == "done")
    assert (session.tail.unknown, session.tail.newer) == (1, True)


def test_a_plan_is_made_of_the_recipe_as_it_is_now(tmp_path):
    opened: list[int] = []

    def open_pipeline() -> Pipeline:
        opened.append(1)
        return pipeline(tmp_path, arn=[1] if len(opened) == 1 else [1, 2])

    project = Project(tmp_path / "r.yaml", (), open_pipeline, tmp_path, OPTIONS)
    first, second = project.plan(), project.plan()
    assert first.plan is not None
    assert second.plan is not None
    assert len(list(second.plan.items)) - len(list(first.plan.items)) == 2
    assert project.planned is second
    assert project.active_run() is None


def test_what_is_wrong_with_a_recipe_is_part_of_the_plan(tmp_path):
    def broken() -> Pipeline:
        raise PermissionError(13, "Permission denied", "/somewhere/r.yaml")

    planned = Project(tmp_path / "r.yaml", (), broken, tmp_path, OPTIONS).plan()
    assert planned.plan is None
    assert isinstance(planned.error, CacheError)
    assert "/somewhere/r.yaml: Permission denied" in str(planned.error)


def test_the_command_says_the_same(tmp_path):
    options = RunOptions(until="convert", force=frozenset({"quantize", "convert"}))
    project = Project(Path("r.yaml"), ("backend=CPU",), lambda: pipeline(tmp_path), tmp_path, options, tmp_path)
    said = shlex.join(project.command())
    assert said == f"run r.yaml backend=CPU --until convert --force convert --force quantize --cache-dir {tmp_path}"


@pytest.mark.parametrize("kind", ["events", "nothing"])
def test_a_folder_without_events_is_an_interrupted_run(tmp_path, kind):
    folder = RunFolder(tmp_path / "0001")
    folder.path.mkdir()
    if kind == "events":
        folder.events.write_text("")
    session = ReplaySession(folder)
    assert until(session, lambda state: state.status == "interrupted").items == {}
