"""`qairt status`, and which run a command means."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import recorded_runs as recorded

from qairt.cli.find_run import command, find_run, name_of
from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder
from qairt.errors import RecipeError


def state_folder(name: str) -> Path:
    return Path("qairt-cache") / name / "pipeline_state"


def started(folder: RunFolder, ago: float) -> RunFolder:
    """As if it had begun `ago` seconds earlier."""
    host = json.loads((folder.path / "host.json").read_text()) | {"started": time.time() - ago}
    (folder.path / "host.json").write_text(json.dumps(host))
    return folder


@pytest.fixture
def runs() -> dict[str, RunFolder]:
    """Two runs of one recipe, and a later one of another."""
    now = time.time()
    return {
        "tiny/0001": started(recorded.record(state_folder("tiny"), "0001", recorded.good(at=now - 7200)), 7200),
        "tiny/0002": started(recorded.record(state_folder("tiny"), "0002", recorded.failing(at=now - 3600)), 3600),
        "llama/0001": started(recorded.record(state_folder("llama"), "0001", recorded.half(at=now - 60)), 60),
    }


def test_the_latest_runs(qairt, runs):
    said = qairt("status")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines == [
        "run state items took left started recipe cache",
        "llama/0001 interrupted 1 of 4 10.0 s - 1 minute ago tiny.yaml qairt-cache/llama",
        "tiny/0002 failed 2 of 4 21.0 s - 1 hour ago tiny.yaml qairt-cache/tiny",
        "tiny/0001 done 4 of 4 40.0 s - 2 hours ago tiny.yaml qairt-cache/tiny",
    ]


def test_an_active_run_comes_first_with_the_commands_to_reach_it(qairt, runs):
    live = recorded.record(state_folder("tiny"), "0003", recorded.half(at=time.time() - 15))
    started(live, 86400)
    with live.held("/recipes/tiny.yaml", (), detached=True):
        said = qairt("status")
        data = qairt("status", "--json").data["runs"]
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[1].startswith("tiny/0003 running 1 of 4 15.")
    assert lines[1].split()[7] not in ("-", "0.0")
    assert lines[-4:] == [
        "tiny/0003 is running on box7, process 41231",
        "attach: qairt attach tiny/0003",
        "follow: qairt logs tiny/0003 -f",
        "cancel: qairt cancel tiny/0003",
    ]
    assert [(run["id"], run["state"]) for run in data][:2] == [("0003", "running"), ("0001", "interrupted")]
    assert (data[0]["host"], data[0]["pid"], data[0]["made"], data[0]["items"]) == ("box7", 41231, 1, 4)
    assert data[0]["left_seconds"] > 0
    assert data[0]["cache_dir"] == str(Path("qairt-cache/tiny").absolute())
    assert data[1]["left_seconds"] is None


def test_a_stopped_item_of_an_active_run_is_named(qairt, runs):
    began = time.time() - 15
    half = recorded.half(at=began)
    ended = {(event.stage, event.label) for event in half if isinstance(event, ev.ItemFinished)}
    running = {(event.stage, event.label) for event in half if isinstance(event, ev.ItemStarted)} - ended
    stage, label = sorted(running)[0]
    quiet = ev.ItemQuiet(time=began + 10, seq=99, stage=stage, label=label, seconds=1.0, stopped_pid=77)
    live = recorded.record(state_folder("tiny"), "0004", [*half, quiet])
    started(live, 86400)
    sentence = f"{stage} {label}: process 77 was stopped by a signal; `kill -CONT 77` lets it go on"
    with live.held("/recipes/tiny.yaml", (), detached=True):
        assert f"  {sentence}\n" in qairt("status").out
        assert qairt("status", "--json").data["runs"][0]["silent"] == [sentence]


def test_a_run_that_was_heard_of_last_on_another_machine(qairt, runs):
    folder = runs["llama/0001"]
    host = json.loads((folder.path / "host.json").read_text()) | {"host": "else[where]"}
    (folder.path / "host.json").write_text(json.dumps(host))
    folder.events.write_text("")
    os.utime(folder.events, (1.0, 1.0))
    said = qairt("status")
    assert "llama/0001  unknown" in said.out
    assert said.out.endswith("llama/0001: no sign of life lately; it was started on else[where]\n")


def test_only_the_latest_few_are_listed(qairt):
    for number in range(1, 10):
        started(recorded.record(state_folder("tiny"), f"{number:04d}", recorded.good()), 100 - number)
    ids = [run["id"] for run in qairt("status", "--json").data["runs"]]
    assert ids == ["0009", "0008", "0007", "0006", "0005"]


def test_what_a_real_run_leaves(qairt):
    assert qairt("run", "toy.yaml", "--executor", "inline").code == 0
    (run,) = qairt("status", "toy.yaml", "--json").data["runs"]
    assert (run["id"], run["state"], run["made"], run["items"]) == ("0001", "done", 5, 5)
    assert "0001  done" in qairt("status", "--cache-dir", "cache").out


def test_runs_in_other_folders_are_seen(qairt, tmp_path, monkeypatch):
    assert qairt("run", "toy.yaml", "--executor", "inline").code == 0
    (run,) = qairt("status", "toy.yaml", "--json").data["runs"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (seen,) = qairt("status", "--json").data["runs"]
    assert (seen["id"], seen["cache_dir"]) == (run["id"], run["cache_dir"])
    assert f"{run['id']}  done" in qairt("status").out
    shutil.rmtree(run["cache_dir"])
    assert qairt("status").out == "Nothing has run here yet.\n", "a cache that is gone is forgotten"


def test_nothing_was_run(qairt, place):
    said = qairt("status")
    assert (said.code, said.out) == (0, "Nothing has run here yet.\n")
    said = qairt("status", "--cache-dir", "nowhere")
    assert said.err == "Error: nowhere: nothing has run in this cache directory\n  qairt run RECIPE\n"
    state_folder("tiny").mkdir(parents=True)
    assert qairt("status").out == "Nothing has run here yet.\n"


# Which run is meant


def test_runs_by_name(runs):
    assert find_run("tiny/0002", None, None).path == runs["tiny/0002"].path
    assert find_run("2", None, None).path == runs["tiny/0002"].path
    assert find_run("0001", None, Path("qairt-cache/llama")).path == runs["llama/0001"].path
    assert find_run(None, None, None).path == runs["llama/0001"].path
    assert find_run(None, None, Path("qairt-cache/tiny")).path == runs["tiny/0002"].path


def test_an_active_run_is_preferred_on_request(runs):
    with runs["tiny/0001"].held("", (), detached=False):
        runs["tiny/0001"].events.write_text("")
        started(runs["tiny/0001"], 7200)
        assert find_run(None, None, None).path == runs["llama/0001"].path
        assert find_run(None, None, None, live=True).path == runs["tiny/0001"].path
    assert find_run(None, None, None, live=True).path == runs["llama/0001"].path


@pytest.mark.parametrize(
    ("run", "what", "remedy"),
    [
        ("0001", "there are several runs 0001", "name one of tiny/0001, llama/0001"),
        ("0007", "there is no run 0007", "existing runs: tiny/0001, tiny/0002, llama/0001"),
        ("tiny/0007", "there is no run tiny/0007", "existing runs: tiny/0001, tiny/0002, llama/0001"),
    ],
)
def test_ambiguous_and_missing_runs(runs, run, what, remedy):
    with pytest.raises(RecipeError) as error:
        find_run(run, None, None)
    assert (error.value.what, error.value.remedy) == (what, remedy)


def test_many_runs_are_not_all_named():
    for number in range(1, 13):
        started(recorded.record(state_folder("tiny"), f"{number:04d}", []), 100 - number)
    with pytest.raises(RecipeError) as error:
        find_run("99", None, None)
    assert error.value.remedy == "existing runs: 4 older ones, 0005, 0006, 0007, 0008, 0009, 0010, 0011, 0012"


def test_commands_find_the_run_again(runs, place):
    assert command("attach", runs["tiny/0001"]) == "qairt attach tiny/0001"
    elsewhere = recorded.record(place / "my cache" / "pipeline_state", "0001", [])
    assert name_of(elsewhere) == "0001"
    assert command("logs", elsewhere, "-f") == f"qairt logs 0001 -f --cache-dir '{place}/my cache'"
