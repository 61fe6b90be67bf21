"""The window takes any size."""

from __future__ import annotations

import signal
import time

import pytest
from terminal import clears

SIZES = [(20, 5), (80, 24), (200, 50), (40, 10), (250, 70), (60, 15), (80, 24)]


@pytest.mark.parametrize("key", ["", "?", "p", "t", "L"])
def test_every_size_on_a_screen(place, key):
    terminal = place.open("run", str(place.recipe))
    terminal.pass_results()
    terminal.settle(0.3)
    terminal.send(key)
    terminal.settle(0.3)
    began = time.monotonic()
    for size in SIZES:
        terminal.resize(*size)
        terminal.settle(0.05, 1.0)
        assert terminal.process.poll() is None, terminal.text()
    steady = terminal.bytes_between(began, time.monotonic())
    assert clears(steady) == 0
    terminal.escape()
    terminal.escape()
    terminal.wait_for("STAGE")
    terminal.send("q")
    assert terminal.wait() == 0


def test_what_the_terminal_lost_on_the_way_back_to_its_size_is_sent_again(place):
    terminal = place.open("run", str(place.recipe))
    terminal.pass_results()
    terminal.settle(0.3)
    app = terminal.app()
    app.send_signal(signal.SIGSTOP)  # it sees only the last size
    terminal.resize(20, 5)
    terminal.resize(80, 24)
    assert "STAGE" not in terminal.text()
    app.send_signal(signal.SIGCONT)
    terminal.wait_for("STAGE")
    terminal.wait_for("7/7 items")


def test_the_last_of_many_sizes_at_once_holds(place):
    terminal = place.open("run", str(place.recipe))
    terminal.pass_results()
    for _ in range(20):
        for size in SIZES:
            terminal.resize(*size)
    terminal.wait_for(lambda text: "STAGE" in text and "7/7 items" in text and "Help" in text)
    terminal.settle(0.5)
    assert "STAGE" in terminal.text()
