"""Memory by stage, of looks that overlapping stages share."""

from __future__ import annotations

from qairt.profiling.resources import Sample
from qairt.profiling.stage_memory import MB, StageMemory


def sample(ram: int, gpu: int | None = None) -> Sample:
    return Sample(ram=ram * MB, cpu_percent=0.0, gpu_memory=None if gpu is None else gpu * MB, gpu_percent=None)


def test_a_peak_inside_counts_for_the_running_stages():
    memory = StageMemory()
    memory.begin("a", sample(100))
    memory.add(sample(300))
    memory.begin("b", sample(250))
    memory.end("a", sample(200))
    memory.add(sample(900))
    memory.end("b", sample(220))
    memory.add(sample(5000))
    assert memory.metrics() == {
        "a": {
            "ram_pss_entry_mb": 100.0,
            "ram_pss_mb": 100.0,
            "ram_pss_peak_mb": 300.0,
            "gpu_memory_allocated_mb": 0.0,
            "gpu_memory_peak_mb": 0.0,
        },
        "b": {
            "ram_pss_entry_mb": 250.0,
            "ram_pss_mb": -30.0,
            "ram_pss_peak_mb": 900.0,
            "gpu_memory_allocated_mb": 0.0,
            "gpu_memory_peak_mb": 0.0,
        },
    }


def test_a_running_stage_reports_what_is_known_so_far():
    memory = StageMemory()
    memory.begin("a", sample(100, gpu=10))
    memory.add(sample(150, gpu=70))
    memory.add(sample(140, gpu=40))
    assert memory.metrics()["a"] == {
        "ram_pss_entry_mb": 100.0,
        "ram_pss_mb": 40.0,
        "ram_pss_peak_mb": 150.0,
        "gpu_memory_allocated_mb": 30.0,
        "gpu_memory_peak_mb": 70.0,
    }


def test_a_stage_that_was_not_started_is_ignored():
    memory = StageMemory()
    memory.end("a", sample(1))
    assert memory.metrics() == {}
    memory.begin("a", sample(1))
    memory.reset()
    assert memory.metrics() == {}
