"""The folder of a run, and whether the run is in progress."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import threaded_run
from threaded_run import ThreadedRun, four_stages
from wait import until

from qairt.engine.record import events as ev
from qairt.engine.record.folder import live_runs, run_folders


def test_events_are_numbered_and_the_folder_says_what_was_run(tmp_path):
    run = ThreadedRun(four_stages(tmp_path))
    run.end()
    folder = run.folder
    assert folder.id == "0001"
    events = ev.read_events(folder.events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all(later.mono >= earlier.mono for earlier, later in pairwise(events))
    host = folder.host()
    assert host is not None
    assert (host.pid, host.overrides) == (os.getpid(), ())
    resolved = json.loads((folder.path / "resolved.json").read_text())
    assert resolved["stages"]["fan"]["arn"] == [1, 2, 3]
    assert json.loads((folder.path / "plan.json").read_text())["items"] == 7
    assert folder.liveness() == "over"


SLOWLY = """
import sys
from pathlib import Path
from qairt.engine.run.options import RunOptions
sys.path.insert(0, sys.argv[2])
from threaded_run import four_stages
four_stages(Path(sys.argv[1]), sleep=30.0).construct(RunOptions(jobs=2, memory=10**9))
"""


def test_a_killed_run_is_interrupted_at_once(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", SLOWLY, str(tmp_path), str(Path(threaded_run.__file__).parent)])
    state = tmp_path / "pipeline_state"
    until(lambda: live_runs(state), 20)
    (folder,) = live_runs(state)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert folder.liveness() == "interrupted"
    assert live_runs(state) == []


def test_a_run_on_another_machine_is_judged_by_its_heartbeat(tmp_path):
    run = ThreadedRun(four_stages(tmp_path))
    run.end()
    folder = run.folder
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(lines[:-1]))
    record = json.loads((folder.path / "host.json").read_text()) | {"host": "elsewhere"}
    (folder.path / "host.json").write_text(json.dumps(record))
    assert folder.liveness() == "running"
    old = time.time() - 60
    os.utime(folder.events, (old, old))
    assert folder.liveness() == "unknown"


def test_two_runs_get_two_folders(tmp_path):
    first = ThreadedRun(four_stages(tmp_path))
    second = ThreadedRun(four_stages(tmp_path))
    first.end()
    second.end()
    assert [folder.id for folder in run_folders(tmp_path / "pipeline_state")] == ["0001", "0002"]
