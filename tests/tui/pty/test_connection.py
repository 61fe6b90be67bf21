"""A run outlives its screen, however the screen ends, and the screen shows when a run has died."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from terminal import Terminal
from toy_place import assert_whole, made, statuses
from wait import until

from qairt.engine.record.events import read_events

QAIRT = [sys.executable, "-m", "qairt"]
"""Knows the toy stages by toy_site, also in the processes that it starts."""


@pytest.fixture
def hosted(place):
    place.env["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[2] / "support" / "toy_site"), place.env["PYTHONPATH"]]
    )
    return place


def done_on(terminal: Terminal) -> int:
    found = re.search(r"(\d+)/7 items", terminal.text())
    return int(found[1]) if found else -1


def test_a_dropped_connection_does_not_end_the_run(place):
    place.write(sleep=1.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    run = place.run()
    terminal.hangup()
    terminal.wait()
    assert run.liveness() == "running"
    until(lambda: run.liveness() == "over")
    assert_whole(run)


def test_a_killed_parent_does_not_end_the_run(place):
    place.write(sleep=1.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    run, app = place.run(), terminal.app()
    terminal.kill()
    terminal.wait()
    assert run.liveness() == "running"
    until(lambda: run.liveness() == "over")
    assert_whole(run)
    until(lambda: not app.is_running())


def test_a_killed_app_takes_its_run_along_and_gives_the_terminal_back(place):
    place.write(sleep=1.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    run, app = place.run(), terminal.app()
    workers = app.children(recursive=True)
    before = len(terminal.bytes())
    app.kill()
    assert terminal.wait() == 137
    until(lambda: run.liveness() == "interrupted")
    until(lambda: not any(worker.is_running() for worker in workers))
    left = terminal.bytes()[before:]
    assert b"\x1b[?1049l" in left
    assert b"\x1b[?25h" in left
    assert b"\x1b[?1003l" in left
    assert "the same command resumes there" in left.decode()
    again = place.open("run", str(place.recipe))
    again.pass_results(timeout=30)
    again.send("q")
    assert again.wait() == 0
    assert len(made(run)) + len(made(place.run())) == 7


def test_a_killed_app_leaves_a_hosted_run_alone(hosted):
    hosted.write(sleep=1.5)
    terminal = hosted.open("tui", str(hosted.recipe), "--host", "--run", program=QAIRT)
    terminal.wait_for("half way")
    terminal.wait_for(lambda text: re.search(r"[1-9]/7 items", text) is not None)
    run, seen = hosted.run(), done_on(terminal)
    last = list(read_events(run.events))[-1].seq
    host = run.host()
    assert host is not None
    assert host.pid != terminal.app().pid
    terminal.app().kill()
    terminal.wait()
    assert run.liveness() == "running"
    again = hosted.open("attach", "--cache-dir", str(hosted.folder / "cache"), program=QAIRT)
    again.wait_for(lambda text: re.search(r"\d/7 items", text) is not None and f"run {run.id}" in text)
    again.wait_for(lambda text: (found := re.search(r"(\d)/7 items", text)) is not None and int(found[1]) >= seen)
    again.reach_stages("7/7 items")
    assert list(read_events(run.events))[-1].seq >= last
    until(lambda: run.liveness() == "over")
    assert_whole(run)
    again.send("q")
    assert again.wait() == 0


def test_a_killed_host_is_interrupted_within_two_seconds(hosted):
    hosted.write(sleep=30)
    terminal = hosted.open("tui", str(hosted.recipe), "--host", "--run", program=QAIRT)
    terminal.wait_for("half way")
    host = hosted.run().host()
    assert host is not None
    workers = psutil.Process(host.pid).children(recursive=True)
    killed = time.monotonic()
    os.kill(host.pid, signal.SIGKILL)
    assert terminal.wait_for("interrupted", since=killed) < 2.0
    until(lambda: not any(worker.is_running() for worker in workers))
    terminal.send("q")
    assert terminal.wait() == 0
    assert statuses(hosted.run()) == []


def test_a_hangup_signal_to_the_app_alone_closes_the_screen(place):
    place.write(sleep=1.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    run = place.run()
    terminal.app().send_signal(signal.SIGHUP)
    terminal.wait()
    until(lambda: run.liveness() == "over")
    assert_whole(run)
