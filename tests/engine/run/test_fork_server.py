"""Workers are forked from a process that has imported what they need, and started as programs where that cannot be."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
import toy_stages as toy
from forked_stages import Forked, Threaded

from qairt.engine.pipeline import Pipeline
from qairt.engine.run import jobs
from qairt.engine.run.options import RunOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is a program of its own")


@pytest.fixture(autouse=True)
def _as_ours(monkeypatch):
    """Modules of a user's own stage are not imported ahead; these count as ours."""
    monkeypatch.setattr(jobs, "module_folder", lambda stage: None)
    monkeypatch.setattr("qairt.engine.run.item_runner.module_folder", lambda stage: None)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "support"))


def texts(made: Pipeline, stage: str) -> list[list[str]]:
    found = sorted(made.cache.entries(stage), key=lambda entry: entry.label)
    return [(entry.directory / "text.txt").read_text().split() for entry in found]


def test_all_items_are_forked_from_one_process_that_ends_with_the_run(tmp_path):
    made = Pipeline([Forked(toy.FanConfig(arn=[1, 2, 3]))], tmp_path)
    result = made.construct(RunOptions(jobs=2))
    assert result.status == "done", result.failed
    said = texts(made, "forked")
    servers = {int(server) for server, *_ in said}
    assert len(servers) == 1
    assert {tuple(rest) for _, *rest in said} == {("True", said[0][2])}
    assert os.getpid() not in servers
    assert not psutil.pid_exists(servers.pop())
    (log, *_) = sorted((made.state_folder / "runs").glob("*/logs/forked.ar1.log"))
    assert log.read_text() == "to the item's log\n"


def test_an_item_that_dies_is_one_failed_item_with_its_signal(tmp_path):
    made = Pipeline([Forked(toy.FanConfig(arn=[1, 2, 3], die_at=2))], tmp_path)
    (failure,) = made.construct(RunOptions(jobs=2)).failed
    assert (failure.label, failure.signal, failure.what) == ("ar2", signal.SIGSEGV, "its process was ended by SIGSEGV")
    assert len(texts(made, "forked")) == 2


def test_where_a_module_starts_a_thread_workers_are_programs_of_their_own(tmp_path):
    made = Pipeline([Threaded(toy.FanConfig(arn=[1, 2]))], tmp_path)
    assert made.construct(RunOptions(jobs=1)).status == "done"
    assert [int(parent) for parent, *_ in texts(made, "threaded")] == [os.getpid()] * 2


def test_a_killed_server_costs_no_item(tmp_path):
    made = Pipeline([Forked(toy.FanConfig(arn=[1, 2, 3], suffix="kill"))], tmp_path)
    result = made.construct(RunOptions(jobs=1))
    assert result.status == "done", result.failed
    first, second, third = (int(server) for server, *_ in texts(made, "forked"))
    assert second == os.getpid(), "the next worker is a program of its own, then there is a new server"
    assert len({first, second, third}) == 3
