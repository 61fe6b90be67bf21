"""`StageProfilerObserver` over real runs of toy stages."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from toy_stages import Fan, FanConfig, Source, SourceConfig
from wait import until

from qairt import Pipeline, RunOptions, StageInput, StageObserver, StageOutput, StageProfilerObserver
from qairt.profiling import ResourceProfiler, Sample, profiler

KEYS = ["ram_pss_entry_mb", "ram_pss_mb", "ram_pss_peak_mb", "gpu_memory_allocated_mb", "gpu_memory_peak_mb"]


def run(place, observer, **fan):
    pipeline = Pipeline([Source(SourceConfig()), Fan(FanConfig(**fan))], place)
    pipeline.add_observer(observer)
    return pipeline, pipeline.construct(RunOptions(executor="inline"))


def test_a_run(tmp_path):
    observer = StageProfilerObserver()
    assert isinstance(observer, StageObserver)
    pipeline, result = run(tmp_path, observer, sleep=0.1)
    assert result.status == "done"
    times = observer.get_execution_times()
    assert list(times) == ["source", "fan"]
    assert times["fan"] >= 0.1
    metrics = observer.get_metrics()
    for stage in ("source", "fan"):
        assert list(metrics[stage]) == KEYS
        assert all(isinstance(value, float) for value in metrics[stage].values())
        assert metrics[stage]["ram_pss_peak_mb"] >= metrics[stage]["ram_pss_entry_mb"] > 0
    assert observer.get_report() == {"execution_times": times, "metrics": metrics}
    assert [event.name for event in observer.get_observer_report().events] == ["source", "fan"]
    written = json.loads((pipeline.state_folder / "metrics.json").read_text())
    assert written["fan"]["ram_pss_peak_mb"] == metrics["fan"]["ram_pss_peak_mb"]


def test_without_a_gpu_the_metrics_are_zero(tmp_path):
    from qairt.profiling.gpu import nvml_module

    if nvml_module() is not None:
        pytest.skip("there is a GPU here")
    observer = StageProfilerObserver()
    run(tmp_path, observer)
    assert observer.get_metrics()["fan"]["gpu_memory_allocated_mb"] == 0.0
    assert observer.get_metrics()["fan"]["gpu_memory_peak_mb"] == 0.0


def test_what_it_gives_is_a_copy(tmp_path):
    observer = StageProfilerObserver()
    run(tmp_path, observer)
    observer.get_execution_times().clear()
    observer.get_metrics()["fan"].clear()
    assert list(observer.get_execution_times()) == ["source", "fan"]
    assert list(observer.get_metrics()["fan"]) == KEYS


def test_a_stage_that_failed_is_recorded_and_not_watched_on(tmp_path):
    observer = StageProfilerObserver()
    _, result = run(tmp_path, observer, fail_at=1)
    assert result.status == "failed"
    assert list(observer.get_execution_times()) == ["source", "fan"]
    assert observer.get_metrics()["fan"]["ram_pss_entry_mb"] > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "resource sampler"]


def test_reset(tmp_path):
    observer = StageProfilerObserver()
    run(tmp_path, observer)
    observer.reset()
    assert observer.get_report() == {"execution_times": {}, "metrics": {}}


def test_reset_while_a_stage_runs_does_not_disturb_it(tmp_path):
    class Forgetful(StageProfilerObserver):
        def run_before_stage(self, stage, stage_config, stage_input):
            super().run_before_stage(stage, stage_config, stage_input)
            if stage.name == "source":
                self.reset()

    observer = Forgetful()
    _, result = run(tmp_path, observer)
    assert result.status == "done"
    assert list(observer.get_execution_times()) == ["fan"]


def test_a_peak_inside_a_stage_is_seen(tmp_path):
    observer = StageProfilerObserver()
    observer._profiler = ResourceProfiler(interval=0.01)
    stage, config = Source(SourceConfig()), SourceConfig()
    observer.run_before_stage(stage, config, StageInput())
    held = bytearray(80 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    (work,) = observer._profiler._running.values()
    until(lambda: work.peak_ram > work.before.ram + 60 * 2**20)
    del held
    observer.run_after_stage(stage, config, StageInput(), StageOutput())
    metrics = observer.get_metrics()["source"]
    assert metrics["ram_pss_peak_mb"] > metrics["ram_pss_entry_mb"] + 60
    assert metrics["ram_pss_mb"] < 40


def test_stages_that_come_from_the_cache_are_not_measured(tmp_path):
    run(tmp_path, StageProfilerObserver())
    observer = StageProfilerObserver()
    _, result = run(tmp_path, observer)
    assert result.status == "done"
    assert observer.get_report() == {"execution_times": {}, "metrics": {}}
    assert list(observer.get_observer_report().events) == []


def test_gpu_memory_where_there_is_a_gpu(tmp_path, monkeypatch):
    amounts = iter([100, 300, 250])
    found = Sample(ram=2**20, cpu_percent=0.0, gpu_memory=None, gpu_percent=None)
    monkeypatch.setattr(profiler, "sample", lambda: replace(found, gpu_memory=next(amounts) * 2**20))
    observer = StageProfilerObserver()
    stage, config = Source(SourceConfig()), SourceConfig()
    observer.run_before_stage(stage, config, StageInput())
    observer.run_after_stage(stage, config, StageInput(), StageOutput())
    metrics = observer.get_metrics()["source"]
    assert metrics["gpu_memory_allocated_mb"] == 200.0
    assert metrics["gpu_memory_peak_mb"] == 300.0
