"""Memory over time: allocations show, and phases span the right samples."""

from __future__ import annotations

import time

import numpy as np
import pytest
from wait import until

from qairt.stages.float_profile import memory_trace
from qairt.stages.float_profile.memory_trace import MemoryTrace

MB = 2**20


def test_an_allocation_and_its_release_are_seen():
    with MemoryTrace(0.005) as trace:
        with trace.phase("held"):
            held = np.ones(64 * MB, np.uint8)
            samples = len(trace.timeline.seconds)
            until(lambda: len(trace.timeline.seconds) > samples + 1, 10)
        del held
        samples = len(trace.timeline.seconds)
        until(lambda: len(trace.timeline.seconds) > samples + 1, 10)
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
    monkeypatch.setattr(memory_trace, "_MAX_SAMPLES", 20)
    with MemoryTrace(0.001) as trace:
        until(lambda: trace._interval > 0.003, 10, every=0.002)
        began = time.perf_counter()
    found = trace.timeline
    assert len(found.seconds) == len(found.resident) <= 22
    assert found.seconds[0] < 0.01
    assert found.seconds[-1] >= round(began - trace._started, 4)


def test_a_phase_that_raises_is_recorded():
    with MemoryTrace() as trace, pytest.raises(ValueError, match="lost"), trace.phase("short"):
        raise ValueError("lost")
    assert [phase.name for phase in trace.timeline.phases] == ["short"]
