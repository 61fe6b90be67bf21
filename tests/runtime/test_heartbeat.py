"""A sign of life, for as long as there is something to wait for."""

from __future__ import annotations

import threading

from qairt.runtime import heartbeat as module


def test_it_says_that_it_goes_on_and_ends_with_what_it_waits_for(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    said: list[str] = []
    spoken = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        spoken.set()

    threads = set(threading.enumerate())
    with module.heartbeat("reading", 120, say):
        assert spoken.wait(10)
    assert said[0] == "reading: 0.0 s of about 2 min 00 s"
    assert set(threading.enumerate()) <= threads  # so nothing is said afterwards


def test_what_is_quick_is_not_talked_about():
    said: list[str] = []
    with module.heartbeat("reading", 120, said.append):
        pass
    assert said == []
