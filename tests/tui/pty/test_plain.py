"""Where no screen can be shown, plain text is; nothing of Textual is loaded then, and exit codes say how it went."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from tiny_recipe import write_recipe
from toy_cli import command
from wait import until

IMPORTS = [sys.executable, "-X", "importtime", "-m", "toy_cli"]
"""Tells on standard error, the terminal, what is imported."""


def imported(text, name):
    return any(
        line.rpartition("|")[2].strip().split(".")[0] == name for line in text.splitlines() if "import time" in line
    )


@pytest.mark.parametrize(
    ("words", "size", "env"),
    [
        (["run"], (80, 24), {"CI": "true"}),
        (["run"], (80, 24), {"TERM": "dumb"}),
        (["run"], (20, 5), {}),
        (["run", "--no-tui"], (80, 24), {}),
        (["tui", "--run"], (20, 5), {}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, list | tuple) else None,
)
def test_plain_progress_without_textual(place, words, size, env):
    terminal = place.open(*words, str(place.recipe), size=size, program=IMPORTS, **env)
    assert terminal.wait() == 0
    said = terminal.bytes()
    assert b"\x1b[?1049h" not in said
    text = said.decode(errors="replace")
    assert imported(text, "qairt"), "importtime says nothing"
    assert not imported(text, "textual")
    assert place.run().liveness() == "over"


def test_a_pipe_gets_lines_without_textual(place):
    done = subprocess.run(
        [*IMPORTS, "run", str(place.recipe)], capture_output=True, text=True, cwd=place.folder, timeout=60
    )
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "join all: " in done.stdout
    assert imported(done.stderr, "qairt")
    assert not imported(done.stderr, "textual")


def test_the_screen_does_load_textual(place):
    """Or the tests above would prove nothing."""
    terminal = place.open("tui", str(place.recipe), program=IMPORTS)
    terminal.settle(1.0, 10)
    terminal.send("q")
    assert terminal.wait() == 0
    assert imported(terminal.bytes().decode(errors="replace"), "textual")


@pytest.mark.parametrize("on_screen", [True, False])
def test_a_failed_item_is_exit_code_1(place, on_screen):
    place.write(fan="fail_at: 2")
    terminal = place.open("run", str(place.recipe), *([] if on_screen else ["--no-tui"]))
    if on_screen:
        terminal.wait_for("× failed")
        until(lambda: place.run().liveness() == "over")
        terminal.settle(0.5)
        terminal.send("q")
    assert terminal.wait() == 1


def test_a_wrong_command_is_exit_code_2(place):
    terminal = place.open("run", str(place.folder / "gone.yaml"))
    assert terminal.wait() == 2
    assert b"\x1b[?1049h" not in terminal.bytes()


OLD_WHEEL = """
import sys
from importlib import metadata
real = metadata.version
metadata.version = lambda name: "2.1.0" if name == "onnxruntime-qnn" else real(name)
from qairt.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("on_screen", [True, False])
def test_a_missing_toolchain_is_exit_code_3(place, on_screen):
    recipe = write_recipe(place.folder / "tiny")
    words = ["run", str(recipe), *([] if on_screen else ["--no-tui"])]
    terminal = place.open(*words, program=[sys.executable, "-c", OLD_WHEEL])
    if on_screen:
        terminal.wait_for("too old")
        terminal.send("q")
    assert terminal.wait() == 3


@pytest.mark.parametrize("on_screen", [True, False])
def test_an_interrupted_run_is_exit_code_130(place, on_screen):
    place.write(sleep=30)
    if on_screen:
        terminal = place.open("run", str(place.recipe))
        terminal.wait_for("half way")
        terminal.send("q")
        terminal.wait_for("is still running")
        terminal.send("jj\r")
        assert terminal.wait() == 130
    else:
        process = subprocess.Popen(
            command("run", str(place.recipe)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder
        )
        until(lambda: b"making" in b"".join(path.read_bytes() for path in place.run().logs.glob("*")))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
    began = time.monotonic()
    until(lambda: place.run().liveness() != "running")
    assert time.monotonic() - began < 15
