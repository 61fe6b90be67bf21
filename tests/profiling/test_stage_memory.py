"""Memory by stage, of looks that overlapping stages share."""

from __future__ import annotations

from qairt.profiling.resources import Sample
from qairt.profiling.stage_memory import MB, StageMemory


def look(ram: int, gpu: int | None = None) -> Sample:
    return Sample(ram=ram * MB, cpu_percent=0.0, gpu_memory=None if gpu is None else gpu * MB, gpu_percent=None)


def test_a_peak_inside_counts_for_the_stages_that_are_open():
    memory = StageMemory()
    memory.begin("a", look(100))
    memory.note(look(300))
    memory.begin("b", look(250))
    memory.end("a", look(200))
    memory.note(look(900))
    memory.end("b", look(220))
    memory.note(look(5000))
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


def test_a_stage_that_goes_on_says_what_is_known_so_far():
    memory = StageMemory()
    memory.begin("a", look(100, gpu=10))
    memory.note(look(150, gpu=70))
    memory.note(look(140, gpu=40))
    assert memory.metrics()["a"] == {
        "ram_pss_entry_mb": 100.0,
        "ram_pss_mb": 40.0,
        "ram_pss_peak_mb": 150.0,
        "gpu_memory_allocated_mb": 30.0,
        "gpu_memory_peak_mb": 70.0,
    }


def test_what_was_not_begun_is_passed_over():
    memory = StageMemory()
    memory.end("a", look(1))
    assert memory.metrics() == {}
    memory.begin("a", look(1))
    memory.reset()
    assert memory.metrics() == {}
