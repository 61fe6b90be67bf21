"""A program that gives the terminal back to the shell and keeps running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import wait

PROGRAM = """
import os, signal, sys
from pathlib import Path
from qairt.cli.foreground import run_in_foreground
place = Path(sys.argv[2])
def main(leave):
    reading, writing = os.pipe()
    if sys.argv[1] == "stay":
        signal.signal(signal.SIGHUP, lambda *_: os.write(writing, b"1"))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(11))
    print("begun", flush=True)
    match sys.argv[1]:
        case "code": return 7
        case "exit": sys.exit(3)
        case "raise": raise ValueError("a fault")
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            leave(5)
            print("nobody sees this")
            place.with_name("go").read_text()
            place.write_text("continued")
            return 9
        case "stay":
            os.read(reading, 1)
            place.write_text("hung up")
            return 0
sys.exit(run_in_foreground(main))
"""


def start(what: str, place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_written(place: Path, text: str) -> None:
    wait.until(lambda: place.exists() and place.read_text() == text)


@pytest.mark.parametrize(("what", "code"), [("code", 7), ("exit", 3), ("raise", 1), ("die", 128 + signal.SIGSEGV)])
def test_the_shell_sees_how_the_child_ended(tmp_path, what, code):
    program = start(what, tmp_path / "file")
    output, errors = program.communicate(timeout=20)
    assert (program.returncode, output) == (code, "begun\n")
    assert ("ValueError: a fault" in errors) == (what == "raise")


def test_detaching_ends_the_parent_and_the_child_continues_without_a_terminal(tmp_path):
    os.mkfifo(tmp_path / "go")
    program = start("leave", tmp_path / "file")
    output, errors = program.communicate(timeout=20)
    assert (program.returncode, output, errors) == (5, "begun\n", "")
    assert not (tmp_path / "file").exists()
    (tmp_path / "go").write_text("")
    until_written(tmp_path / "file", "continued")


def test_when_the_parent_is_killed_the_child_gets_a_hangup(tmp_path):
    program = start("stay", tmp_path / "file")
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    program.kill()
    until_written(tmp_path / "file", "hung up")


def test_sigterm_reaches_the_child(tmp_path):
    program = start("stay", tmp_path / "file")
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    program.send_signal(signal.SIGTERM)
    assert program.wait(10) == 11


def test_a_stopped_child_stops_the_parent_and_both_continue_together(tmp_path):
    program = start("stay", tmp_path / "file")
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    parent = psutil.Process(program.pid)
    (child,) = parent.children()
    child.send_signal(signal.SIGSTOP)
    wait.until(lambda: parent.status() == psutil.STATUS_STOPPED)
    os.kill(program.pid, signal.SIGCONT)
    wait.until(lambda: child.status() != psutil.STATUS_STOPPED)
    program.send_signal(signal.SIGTERM)
    assert program.wait(10) == 11
