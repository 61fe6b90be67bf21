"""Leaving the screen, for good and for a while."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
from terminal import copied
from toy_cli import command
from toy_place import assert_whole, statuses
from wait import until


def test_q_asks_and_ends_nothing(place):
    place.write(sleep=1.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    terminal.send("q")
    terminal.wait_for("Run 0001 is still running")
    terminal.send("q")  # stays
    terminal.wait_for(lambda text: "is still running" not in text)
    terminal.send("\x03")
    terminal.wait_for("Run 0001 is still running")
    terminal.send("\r")  # leave: the run goes on
    assert terminal.wait() == 0
    run = place.run()
    assert run.liveness() == "running"
    said = terminal.text()
    place_of = f"--cache-dir {place.folder / 'cache'}"
    for line in ("run 0001 is active", "qairt attach 0001", "qairt logs 0001 -f", "qairt cancel 0001"):
        assert line in said
    assert place_of in said.replace("\n", "").replace(" " * 2, " ") or "--cache-dir" in said
    until(lambda: run.liveness() == "over")
    assert_whole(run)


def test_d_leaves_and_attach_comes_back(place):
    place.write(sleep=1.5)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    terminal.send("d")
    assert terminal.wait() == 0
    assert b"\x1b[?1049l" in terminal.bytes()
    again = place.open("attach", "--cache-dir", str(place.folder / "cache"))
    again.wait_for("run 0001")
    again.reach_stages("7/7 items")
    again.send("q")
    assert again.wait() == 0
    assert_whole(place.run())


def test_y_copies_the_exact_text(place):
    terminal = place.open("run", str(place.recipe))
    terminal.pass_results()
    terminal.settle(0.3)
    terminal.send("2yy")
    terminal.wait_for("copied")
    payloads = copied(terminal.bytes())
    kept = (Path(place.env["XDG_STATE_HOME"]) / "qairt" / "clipboard.txt").read_text()
    assert payloads
    assert payloads[-1] == kept
    assert re.search(r"_[0-9a-f]{8}", kept), kept
    terminal.send("Y")
    until(lambda: copied(terminal.bytes())[-1] != kept)
    assert copied(terminal.bytes())[-1].startswith("qairt run ")
    terminal.send("q")
    assert terminal.wait() == 0


def test_the_stream_tells_what_was_missed_once_and_returns_to_the_same_screen(place):
    terminal = place.open("run", str(place.recipe), size=(100, 30))
    terminal.pass_results()
    until(lambda: place.run().liveness() == "over")
    terminal.wait_for("built, 0 cached")
    terminal.send("gj")  # to an item that wrote something: its log stands there, not the feed
    terminal.wait_for(lambda text: "Log · fan" in text and "built, 0 cached" not in text)
    before = terminal.text()
    start = terminal.send("s")
    terminal.wait_for("the run has ended; press s to return")
    told = terminal.bytes_between(start, time.monotonic()).decode()
    assert told.count("fan ar2: started") == 1
    assert told.count("written") == 7
    terminal.send("s")
    terminal.wait_for(lambda text: same(text) == same(before))
    start = terminal.send("s")
    terminal.wait_for("all events of the run")
    terminal.settle(0.6)
    assert "started" not in terminal.bytes_between(start, time.monotonic()).decode()
    terminal.send("s")
    terminal.wait_for(lambda text: same(text) == same(before))
    terminal.send("q")
    assert terminal.wait() == 0


def same(text):
    """Without what time alone changes."""
    return re.sub(r"RAM .*|CPU .*|\d\d:\d\d:\d\d", "", text).replace(" ", "")


def test_a_fault_of_the_screen_restores_the_terminal_and_leaves_the_run_alone(place):
    place.write(sleep=1.0)
    terminal = place.open("run", str(place.recipe), program=[sys.executable, "-m", "broken_screen"])
    assert terminal.wait() == 1
    data = terminal.bytes()
    assert data.index(b"\x1b[?1049l") < data.rindex(b"the screen failed")
    assert b"\x1b[?25h" in data
    said = re.sub(r"\s+", "", terminal.text())
    kept = Path(place.env["XDG_STATE_HOME"]) / "qairt" / "tui.log"
    assert "ZeroDivisionError:afaultofthescreen" in said
    assert str(kept) in said
    assert "qairtattach0001" in said
    assert "in fail_late" in kept.read_text()
    run = place.run()
    assert run.liveness() == "running"
    until(lambda: run.liveness() == "over")
    assert_whole(run)


def test_stopped_and_back(place):
    """From a shell: job control is the shell's."""
    place.write(sleep=2.0)
    shell = place.open(program=["bash", "--norc", "--noprofile", "-i"], PS1="shell> ")
    shell.wait_for("shell> ")
    shell.send(" ".join([*command("run", str(place.recipe)), "\r"]))
    shell.wait_for("half way")
    run = place.run()
    host = run.host()
    assert host is not None
    os.kill(host.pid, signal.SIGTSTP)
    shell.wait_for("Stopped")
    assert psutil.Process(host.pid).status() == psutil.STATUS_STOPPED
    shell.send("echo he''re\r")
    shell.wait_for("here")
    before = shell.send("fg\r")
    until(lambda: run.liveness() == "over")
    shell.pass_results()
    shell.settle(0.6)
    assert shell.bytes_between(before, time.monotonic()).count(b"\x1b[?1049h") == 1
    shell.send("q")
    shell.wait_for("shell> ")
    shell.send("echo code $?\r")
    shell.wait_for("code 0")
    assert_whole(run)


def test_sigterm_ends_the_run_as_ctrl_c_does(place):
    place.write(sleep=20.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.wait() == 130
    run = place.run()
    assert run.liveness() == "over"
    assert statuses(run) == ["interrupted"]


def test_sigterm_ends_a_run_whose_screen_was_left(place):
    place.write(sleep=20.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    terminal.send("d")
    assert terminal.wait() == 0
    run = place.run()
    host = run.host()
    assert host is not None
    os.kill(host.pid, signal.SIGTERM)
    until(lambda: run.liveness() == "over")
    assert statuses(run) == ["interrupted"]


def test_ctrl_z_suspends_and_the_screen_comes_back(place):
    place.write(sleep=2.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    app = terminal.app()
    terminal.send("\x1a")
    until(lambda: app.status() == psutil.STATUS_STOPPED)
    until(lambda: psutil.Process(terminal.process.pid).status() == psutil.STATUS_STOPPED)
    terminal.settle(0.2)
    assert b"\x1b[?1049l" in terminal.bytes()
    os.kill(terminal.process.pid, signal.SIGCONT)
    terminal.pass_results()
    terminal.send("q")
    assert terminal.wait() == 0
    assert_whole(place.run())
