"""Memory over time: what is taken is seen, and phases have their place."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from qairt.stages.float_profile import memory_trace
from qairt.stages.float_profile.memory_trace import MemoryTrace

MB = 2**20


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_is_taken_and_given_back_is_seen():
    with MemoryTrace(0.005) as trace:
        with trace.phase("held"):
            held = np.ones(64 * MB, np.uint8)
            looked = len(trace.timeline.seconds)
            wait_for(lambda: len(trace.timeline.seconds) > looked + 1)
        del held
        looked = len(trace.timeline.seconds)
        wait_for(lambda: len(trace.timeline.seconds) > looked + 1)
    found = trace.timeline
    assert len(found.seconds) == len(found.resident)
    assert found.seconds == sorted(found.seconds)
    assert max(found.resident) - found.resident[0] == pytest.approx(64 * MB, rel=0.2)
    assert max(found.resident) - found.resident[-1] == pytest.approx(64 * MB, rel=0.2)
    (phase,) = found.phases
    assert phase.name == "held"
    inside = [
        bytes_
        for second, bytes_ in zip(found.seconds, found.resident, strict=True)
        if phase.start <= second <= phase.end
    ]
    assert max(inside) == max(found.resident)
    assert found.gpu == []


def test_a_long_trace_is_thinned_and_stays_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory_trace, "_MOST", 20)
    with MemoryTrace(0.001) as trace:
        wait_for(lambda: trace._interval > 0.003)
        began = time.perf_counter()
    found = trace.timeline
    assert len(found.seconds) == len(found.resident) <= 22
    assert found.seconds[0] < 0.01
    assert found.seconds[-1] >= round(began - trace._started, 3)


def test_a_phase_that_fails_is_noted():
    with MemoryTrace() as trace, pytest.raises(ValueError, match="lost"), trace.phase("short"):
        raise ValueError("lost")
    assert [phase.name for phase in trace.timeline.phases] == ["short"]
