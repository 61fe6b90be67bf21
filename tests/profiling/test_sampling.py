"""Samples of a run that really goes, from a thread beside it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from toy_stages import Fan, FanConfig, Source, SourceConfig
from wait import until

from qairt import Pipeline, RunOptions, StageObserver
from qairt.engine.record import events as ev
from qairt.engine.record.events import read_events
from qairt.profiling.resources import TreeMeter
from qairt.profiling.sampling import ResourceSampling


def pipeline_in(place, *, interval: float = 0.02, stall_seconds: float = 30.0, **fan):
    pipeline = Pipeline([Source(SourceConfig()), Fan(FanConfig(arn=[1], **fan))], place)
    sampling = ResourceSampling(pipeline.emit, interval, stall_seconds)
    pipeline.add_observer(sampling)
    return pipeline, sampling


def events_of(pipeline) -> list[ev.Event]:
    return read_events(pipeline.state_folder / "runs" / "0001" / "events.jsonl")


def test_a_run_is_sampled_from_its_start_to_its_end(tmp_path):
    pipeline, _ = pipeline_in(tmp_path, sleep=0.5)
    assert pipeline.construct(RunOptions(executor="inline")).status == "done"
    samples = [event for event in events_of(pipeline) if isinstance(event, ev.ResourceSample)]
    assert len(samples) > 5
    assert all(sample.ram > 10**6 and sample.cpu_percent >= 0 for sample in samples)
    until_no_thread()


def test_a_sleeping_worker_is_stalled(tmp_path):
    pipeline, _ = pipeline_in(tmp_path, stall_seconds=0.4, sleep=2.5)
    assert pipeline.construct(RunOptions(executor="process")).status == "done"
    quiet = [event for event in events_of(pipeline) if isinstance(event, ev.ItemQuiet) and event.stage == "fan"]
    assert [event.label for event in quiet[:2]] == ["ar1", "ar1"]
    assert quiet[0].seconds >= 0.4
    assert quiet[1].seconds >= 2 * quiet[0].seconds


def test_every_run_has_its_own_thread(tmp_path):
    pipeline, _ = pipeline_in(tmp_path, sleep=0.2)
    for _ in range(3):
        pipeline.construct(RunOptions(executor="inline", force=frozenset({"fan"})))
    until_no_thread()


def test_a_run_that_raises_is_sampled_until_it_is_closed(tmp_path):
    class Breaks(StageObserver):
        def run_before_stage(self, stage, stage_config, stage_input):
            raise ZeroDivisionError

    pipeline, sampling = pipeline_in(tmp_path)
    pipeline.add_observer(Breaks())
    with pytest.raises(ZeroDivisionError):
        pipeline.construct(RunOptions(executor="inline"))
    sampling.close()
    until_no_thread()
    sampling.close()


def test_ending_does_not_wait_for_a_thread_that_waits_for_us():
    """The end of a run is told while the lock of `emit` is held, in which the thread may be waiting."""
    lock, said = threading.Lock(), []
    entered = threading.Event()

    def emit(event: ev.Event) -> None:
        entered.set()
        with lock:
            said.append(event)

    sampling = ResourceSampling(emit, 0.01)
    with lock:
        sampling.on_event(start())
        assert entered.wait(10)
        sampling.on_event(ev.RunFinished(status="done", seconds=1, executed=0, cached=0, failed=0))
        assert said == []
    until_no_thread()
    assert len(said) <= 1


def test_a_full_disk_does_not_end_in_a_traceback(capsys):
    tried = threading.Event()

    def emit(event: ev.Event) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    sampling = ResourceSampling(emit, 0.01)
    sampling.on_event(start())
    assert tried.wait(10)
    sampling.close()
    until_no_thread()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes longer")
def test_a_sample_of_forty_processes_takes_less_than_a_hundredth_of_a_second():
    children = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(40)]
    try:
        meter = TreeMeter()
        meter.sample()
        assert len(meter.processes) >= 41
        began, samples = time.thread_time(), 15
        for _ in range(samples):
            meter.sample()
        assert (time.thread_time() - began) / samples < 0.01
    finally:
        for child in children:
            child.kill()
            child.communicate()


def start() -> ev.RunStarted:
    return ev.RunStarted(run_id="0001", recipe="", cache_dir="", pid=1, jobs=1, memory=0, items=[])


def until_no_thread() -> None:
    until(lambda: not any(thread.name == "resource sampler" for thread in threading.enumerate()), 10)


@pytest.mark.parametrize("limit", [None, 10**9])
def test_the_disk_of_the_cache_is_sampled_against_its_limit(tmp_path, limit):
    pipeline, _ = pipeline_in(tmp_path, sleep=0.3)
    assert pipeline.construct(RunOptions(executor="inline", disk=limit)).status == "done"
    started = next(event for event in events_of(pipeline) if isinstance(event, ev.RunStarted))
    assert started.disk == (limit or 0)
    sample = next(event for event in events_of(pipeline) if isinstance(event, ev.ResourceSample))
    assert (sample.disk is not None) == (limit is not None)
    assert sample.disk is None or 0 < sample.disk < 10**6
    assert sample.disk_free is not None
    assert sample.disk_free > 0
