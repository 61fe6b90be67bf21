"""A program that leaves the terminal to the shell and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PROGRAM = """
import sys, time, signal
from pathlib import Path
from qairt.cli.foreground import run_in_foreground
place = Path(sys.argv[2])
def main(leave):
    hung_up = []
    if sys.argv[1] == "stay":
        signal.signal(signal.SIGHUP, lambda *_: hung_up.append(1))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(11))
    print("begun", flush=True)
    match sys.argv[1]:
        case "code": return 7
        case "exit": sys.exit(3)
        case "raise": raise ValueError("a fault")
        case "die":
            import os
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            leave(5)
            print("nobody sees this")
            time.sleep(0.5)
            place.write_text("went on")
            return 9
        case "stay":
            for _ in range(200):
                time.sleep(0.05)
                if hung_up:
                    place.write_text("hung up")
                    return 0
sys.exit(run_in_foreground(main))
"""


def start(what: str, place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_written(place: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while not (place.exists() and place.read_text() == text):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("what", "code"), [("code", 7), ("exit", 3), ("raise", 1), ("die", 128 + signal.SIGSEGV)])
def test_the_shell_sees_how_the_child_ended(tmp_path, what, code):
    program = start(what, tmp_path / "file")
    output, errors = program.communicate(timeout=20)
    assert (program.returncode, output) == (code, "begun\n")
    assert ("ValueError: a fault" in errors) == (what == "raise")


def test_leaving_ends_the_parent_and_the_child_goes_on_without_a_terminal(tmp_path):
    program = start("leave", tmp_path / "file")
    output, errors = program.communicate(timeout=20)
    assert (program.returncode, output, errors) == (5, "begun\n", "")
    assert not (tmp_path / "file").exists()
    until_written(tmp_path / "file", "went on")


def test_when_the_parent_is_killed_the_child_is_told_that_the_terminal_is_gone(tmp_path):
    program = start("stay", tmp_path / "file")
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    program.kill()
    until_written(tmp_path / "file", "hung up")


def test_a_signal_to_end_reaches_the_child(tmp_path):
    program = start("stay", tmp_path / "file")
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    program.send_signal(signal.SIGTERM)
    assert program.wait(10) == 11


def test_a_stopped_child_stops_the_parent_and_both_go_on_together(tmp_path):
    program = start("stay", tmp_path / "file")
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    parent = psutil.Process(program.pid)
    (child,) = parent.children()
    child.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while parent.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(program.pid, signal.SIGCONT)
    while child.status() == psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    program.send_signal(signal.SIGTERM)
    assert program.wait(10) == 11
