"""What watchers ask of a run while it goes: pause, cancel, retry; and whether it lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from filelock import FileLock
from toy_stages import Fan, FanConfig, Join, LaterConfig, Source, SourceConfig, Upper
from wait import settled, until

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder, live_runs, run_folders
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions


def made(folder: Path, later: float = 0.0, **fan: object) -> Pipeline:
    stages = [
        Source(SourceConfig()),
        Fan(FanConfig.model_validate({"arn": [1, 2, 3]} | fan)),
        Upper(LaterConfig(sleep=later)),
        Join(),
    ]
    return Pipeline(stages, folder)


class Going:
    """A run in a thread, and its state as a watcher folds it."""

    def __init__(self, pipeline: Pipeline, jobs: int = 1) -> None:
        self.pipeline = pipeline
        self.state = RunState()
        pipeline.add_listener(self.state.apply)
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(RunOptions(jobs=jobs, memory=10**9),))
        self.thread.start()

    def _run(self, options: RunOptions) -> None:
        self.result = self.pipeline.construct(options)

    def until(self, holds: Callable[[RunState], bool], seconds: float = 20.0) -> None:
        until(lambda: holds(self.state), seconds, describe=self.statuses)

    def statuses(self) -> dict[str, str]:
        return {item.name: item.status for item in self.state.items.values()}

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.pipeline.state_folder / "runs" / self.state.run_id)

    def ask(self, *words: str) -> ev.RequestAnswered:
        request = self.folder.request(*words)  # type: ignore[arg-type]
        self.until(lambda state: any(answer.request == request for answer in state.answers))
        return next(answer for answer in self.state.answers if answer.request == request)

    def end(self) -> dict[str, str]:
        self.thread.join(30)
        return self.statuses()


def test_pausing_starts_nothing_and_goes_on(tmp_path):
    going = Going(made(tmp_path, sleep=0.3))
    going.until(lambda state: state.count("running") == 1)
    assert going.ask("pause").done
    going.until(lambda state: not state.count("running"))
    before = going.state.count("done")
    settled(going.statuses, quiet=0.8)
    assert (going.state.paused, going.state.count("done"), going.state.count("running")) == (True, before, 0)
    assert "paused" in going.state.waits_for(going.state.items["fan", "ar3"])
    assert going.ask("resume").done
    assert set(going.end().values()) == {"done"}
    assert going.state.status == "done"


def test_a_running_item_is_cancelled_and_the_rest_goes_on(tmp_path):
    going = Going(made(tmp_path, sleep=2.0), jobs=3)
    going.until(
        lambda state: state.items.get(("fan", "ar2")) is not None and state.items["fan", "ar2"].status == "running"
    )
    assert going.ask("cancel_item", "fan", "ar2").done
    assert going.end() == {
        "source all": "done", "fan ar1": "done", "fan ar2": "cancelled", "fan ar3": "done",
        "upper ar2": "blocked", "upper ar3": "done", "join all": "blocked",
    }  # fmt: skip
    assert going.state.items["upper", "ar2"].message == "fan ar2 was cancelled"
    assert going.state.status == "interrupted"


def test_a_waiting_item_is_cancelled_and_tried_again(tmp_path):
    going = Going(made(tmp_path, sleep=0.8))
    going.until(lambda state: state.count("done") >= 1)
    assert going.ask("cancel_item", "join", "all").done
    going.until(lambda state: state.items["join", "all"].status == "cancelled")
    assert not going.ask("cancel_item", "source", "all").done
    assert going.ask("retry").done
    assert set(going.end().values()) == {"done"}


def test_what_failed_is_tried_again_while_the_rest_goes_on(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    going = Going(made(tmp_path / "cache", fail_at=2, fail_while=broken, later=2.5), jobs=2)
    going.until(lambda state: state.count("failed") == 1 and state.count("blocked") == 2)
    assert "failed" in going.state.items["join", "all"].message
    broken.unlink()
    assert going.ask("retry").done
    assert set(going.end().values()) == {"done"}
    assert going.state.items["fan", "ar2"].attempt == 2
    assert going.state.items["fan", "ar2"].error is None
    assert going.result is not None
    assert (going.result.status, going.result.failed) == ("done", [])


def test_cancelling_the_run_keeps_what_is_finished(tmp_path):
    going = Going(made(tmp_path, sleep=1.5))
    going.until(lambda state: state.items.get(("fan", "ar1")) is not None and state.count("done") >= 1)
    assert going.ask("cancel_run").done
    end = going.end()
    assert going.state.status == "interrupted"
    assert end["source all"] == "done"
    assert end["join all"] == "interrupted"


def test_what_cannot_be_done_is_answered(tmp_path):
    going = Going(made(tmp_path, sleep=0.8))
    going.until(lambda state: state.count("running") == 1)
    answers = [going.ask("retry"), going.ask("cancel_item", "fan", "ar9")]
    assert [answer.done for answer in answers] == [False, False]
    assert [answer.message for answer in answers] == ["nothing failed", "fan ar9 is not waiting or running"]
    going.end()


def test_an_item_that_another_run_makes_is_shown_as_shared(tmp_path):
    pipeline = made(tmp_path)
    key = next(item.key for item in pipeline.plan().items if item.name == "fan ar1")
    locks = pipeline.state_folder / "locks"
    locks.mkdir(parents=True)
    with FileLock(locks / f"{key[:16]}.lock"):
        going = Going(pipeline, jobs=2)
        going.until(lambda state: state.count("shared") == 1)
        assert going.state.items["fan", "ar1"].status == "shared"
    assert set(going.end().values()) == {"done"}


def test_events_are_numbered_and_the_folder_says_what_was_run(tmp_path):
    going = Going(made(tmp_path))
    going.end()
    folder = going.folder
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
from test_control import made
made(Path(sys.argv[1]), sleep=30.0).construct(RunOptions(jobs=2, memory=10**9))
"""


def test_a_killed_run_is_interrupted_at_once(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", SLOWLY, str(tmp_path), str(Path(__file__).parent)])
    state = tmp_path / "pipeline_state"
    until(lambda: live_runs(state), 20)
    (folder,) = live_runs(state)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert folder.liveness() == "interrupted"
    assert live_runs(state) == []


def test_a_run_on_another_machine_is_judged_by_its_heartbeat(tmp_path):
    going = Going(made(tmp_path))
    going.end()
    folder = going.folder
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(lines[:-1]))
    record = json.loads((folder.path / "host.json").read_text()) | {"host": "elsewhere"}
    (folder.path / "host.json").write_text(json.dumps(record))
    assert folder.liveness() == "running"
    old = time.time() - 60
    os.utime(folder.events, (old, old))
    assert folder.liveness() == "unknown"


def test_two_runs_get_two_folders(tmp_path):
    first = Going(made(tmp_path))
    second = Going(made(tmp_path))
    first.end()
    second.end()
    assert [folder.id for folder in run_folders(tmp_path / "pipeline_state")] == ["0001", "0002"]
