"""Named pieces of work: what they took, their true peaks, the report."""

from __future__ import annotations

import json
import threading

import pytest
from wait import until

from qairt.profiling import MemoryEvent, ProfilerReport, ResourceProfiler

MB = 2**20


def eat(size: int) -> bytearray:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    return held


def threads() -> int:
    return sum(thread.name == "resource sampler" for thread in threading.enumerate())


def test_a_peak_inside_is_seen():
    profiler = ResourceProfiler(interval=0.01)
    profiler.start("work")
    held = eat(80 * MB)
    work = profiler._running["work"]
    waited = until(lambda: work.peak_ram > work.before.ram + 60 * MB)
    del held
    event = profiler.stop("work")
    assert event.name == "work"
    assert waited <= event.seconds < waited + 10
    assert event.ram_pss_entry_mb > 5
    assert event.ram_pss_mb < 40  # given back
    assert event.ram_pss_peak_mb > event.ram_pss_entry_mb + 60
    assert profiler.get_report().events == [event]


def test_growth_that_stays():
    profiler = ResourceProfiler()
    profiler.start("work")
    held = eat(80 * MB)
    event = profiler.stop("work")
    assert 60 < event.ram_pss_mb < 120
    assert len(held) == 80 * MB


def test_several_at_once_share_one_thread():
    profiler = ResourceProfiler(interval=0.01)
    profiler.start("outer")
    profiler.start("inner")
    assert threads() == 1
    profiler.stop("inner")
    assert threads() == 1
    profiler.stop("outer")
    assert threads() == 0
    assert [event.name for event in profiler.get_report().events] == ["inner", "outer"]


def test_what_was_not_started_cannot_stop():
    with pytest.raises(KeyError, match="nothing"):
        ResourceProfiler().stop("nothing")


def test_work_that_failed_leaves_nothing():
    profiler = ResourceProfiler()
    with profiler.measure("good"):
        pass
    with pytest.raises(ZeroDivisionError), profiler.measure("bad"):
        _ = 1 / 0
    assert [event.name for event in profiler.get_report().events] == ["good"]
    assert threads() == 0


def test_reset_forgets_open_work_too():
    profiler = ResourceProfiler()
    with profiler.measure("done"):
        pass
    before = profiler.get_report()
    profiler.start("open")
    profiler.reset()
    assert profiler.get_report().events == []
    assert len(before.events) == 1  # a report does not change afterwards
    assert threads() == 0
    with pytest.raises(KeyError):
        profiler.stop("open")


def event(name: str, gpu: float = 0.0) -> MemoryEvent:
    return MemoryEvent(name, 1.0, 12.34, 512.0, 128.5, 700.0, gpu, gpu)


def test_the_report_as_data_and_as_a_table():
    report = ProfilerReport([event("model_loading"), event("mha_to_sha_conversion_of_everything")])
    assert json.loads(json.dumps(report.as_dict()))["events"][0] == {
        "name": "model_loading",
        "started": 1.0,
        "seconds": 12.34,
        "ram_pss_entry_mb": 512.0,
        "ram_pss_mb": 128.5,
        "ram_pss_peak_mb": 700.0,
        "gpu_memory_allocated_mb": 0.0,
        "gpu_memory_peak_mb": 0.0,
    }
    assert report.as_table().splitlines() == [
        "stage                                seconds  RAM at start  growth    peak",
        "model_loading                           12.3        512 MB  128 MB  700 MB",
        "mha_to_sha_conversion_of_everything     12.3        512 MB  128 MB  700 MB",
    ]


def test_gpu_columns_where_a_gpu_was_used():
    assert ProfilerReport([event("x", gpu=64.0)]).as_table().splitlines() == [
        "stage  seconds  RAM at start  growth    peak  GPU growth  GPU peak",
        "x         12.3        512 MB  128 MB  700 MB       64 MB     64 MB",
    ]
