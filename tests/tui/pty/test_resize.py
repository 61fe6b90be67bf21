"""The window takes any size."""

from __future__ import annotations

import time

import pytest
from terminal import clears

SIZES = [(20, 5), (80, 24), (200, 50), (40, 10), (250, 70), (60, 15), (80, 24)]


@pytest.mark.parametrize("key", ["", "?", "p", "t", "L"])
def test_every_size_on_a_screen(place, key):
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("7/7 items")
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
