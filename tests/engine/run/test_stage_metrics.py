"""`metrics.json` of real runs of toy stages: while they go on, when they end, when they fail."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from toy_stages import Fan, FanConfig, Join, Source, SourceConfig
from wait import until

from qairt import Pipeline, RunOptions
from qairt.engine.record.events import CacheHit, ItemStarted, LogLine, StageFinished, StageStarted, read_events
from qairt.engine.record.state import RunState
from qairt.engine.run import stage_metrics
from qairt.profiling.sampling import ResourceSampling

INLINE = RunOptions(executor="inline")
SEED_KEYS = {"ram_pss_entry_mb", "ram_pss_mb", "gpu_memory_allocated_mb", "gpu_memory_peak_mb"}


def pipeline(place: Path, **fan: Any) -> Pipeline:
    return Pipeline([Source(SourceConfig()), Fan(FanConfig(**fan)), Join()], place)


def measured(made: Pipeline) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.state_folder / "metrics.json").read_text())
    return found


def sampled(made: Pipeline, interval: float = 0.02) -> Pipeline:
    made.add_observer(ResourceSampling(made.emit, interval))
    return made


def test_every_stage_and_item_says_what_it_took(tmp_path):
    made = sampled(pipeline(tmp_path, sleep=0.2))
    assert made.construct(RunOptions(jobs=2)).status == "done"
    found = measured(made)
    assert list(found) == ["source", "fan", "join"]
    fan = found["fan"]
    assert fan.keys() >= SEED_KEYS | {"ram_pss_peak_mb"}
    assert (fan["status"], fan["run"], fan["items"], fan["failed"]) == ("done", "0001", 2, 0)
    assert fan["seconds"] >= 0.4
    assert 0.2 <= fan["wall_seconds"] <= fan["seconds"] + 1
    assert fan["cpu_seconds"] > 0
    assert fan["bytes_read"] > 10_000  # Python's own modules
    assert fan["bytes_written"] > 0
    assert fan["ram_pss_peak_mb"] >= fan["ram_pss_entry_mb"] > 1
    assert fan["gpu_memory_allocated_mb"] == fan["gpu_memory_peak_mb"] == 0.0
    items = fan["by_item"]
    assert list(items) == ["ar1", "ar2"] or list(items) == ["ar2", "ar1"]
    assert all(item["status"] == "done" and item["cpu_seconds"] > 0 for item in items.values())
    assert fan["cpu_seconds"] == pytest.approx(sum(item["cpu_seconds"] for item in items.values()), abs=0.01)
    assert fan["peak_rss_mb"] == max(item["peak_rss_mb"] for item in items.values()) > 5


def test_a_stage_that_another_run_made_meanwhile_keeps_what_that_one_wrote(tmp_path):
    made = pipeline(tmp_path)
    assert made.construct(INLINE).status == "done"
    before = measured(made)
    state = RunState()
    waited = stage_metrics.StageMetrics(made.state_folder, state, dict)
    for event in (
        StageStarted(stage="fan"),
        CacheHit(stage="fan", label="ar1", key="k"),
        CacheHit(stage="fan", label="ar2", key="k"),
        StageFinished(stage="fan"),
    ):
        state.apply(event)
        waited.apply(event)
    waited.close("done")
    assert measured(made) == before


def test_it_is_there_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_metrics, "UNCHANGED_INTERVAL", 0.05)
    made = sampled(pipeline(tmp_path, sleep=1.0))
    thread = threading.Thread(target=made.construct, args=(RunOptions(jobs=1),))
    thread.start()
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        with contextlib.suppress(FileNotFoundError):
            seen.append(measured(made))
        return not thread.is_alive()

    until(look, every=0.05)
    thread.join()
    going = [found["fan"] for found in seen if found.get("fan", {}).get("status") == "running"]
    assert len({fan["wall_seconds"] for fan in going}) > 3
    assert going[-1]["ram_pss_peak_mb"] > 1
    assert {"ar1": "done", "ar2": "running"} in [
        {label: item["status"] for label, item in fan["by_item"].items()} for fan in going
    ]
    assert measured(made)["fan"]["status"] == "done"


def test_a_stage_that_failed_is_recorded(tmp_path):
    made = sampled(pipeline(tmp_path, fail_at=2, arn=[1, 2, 3]))
    assert made.construct(RunOptions(jobs=1)).status == "failed"
    found = measured(made)
    assert "join" not in found
    fan = found["fan"]
    assert (fan["status"], fan["items"], fan["failed"]) == ("failed", 2, 1)
    assert fan.keys() >= SEED_KEYS
    failed = fan["by_item"]["ar2"]
    assert (failed["status"], failed["error"]) == ("failed", "this node is not supported")
    assert failed["cpu_seconds"] > 0
    assert failed["peak_rss_mb"] > 5
    assert failed["seconds"] > 0


def test_an_item_whose_process_died_is_recorded(tmp_path):
    made = pipeline(tmp_path, die_at=1, busy=0.3, sleep=1.5)
    assert made.construct(RunOptions(jobs=1)).status == "failed"
    died = measured(made)["fan"]["by_item"]["ar1"]
    assert (died["status"], died["error"]) == ("failed", "its process was ended by SIGSEGV")
    assert died["seconds"] > 0
    assert died["cpu_seconds"] > 0  # as it was last seen
    assert died["peak_rss_mb"] > 5


def test_a_run_that_is_stopped_says_so(tmp_path):
    made = pipeline(tmp_path, sleep=30.0)
    made.add_listener(
        lambda event: made.stop.set() if isinstance(event, ItemStarted) and event.stage == "fan" else None
    )
    assert made.construct(RunOptions(jobs=1)).status == "interrupted"
    fan = measured(made)["fan"]
    assert fan["status"] == "interrupted"
    assert fan["by_item"]["ar1"]["status"] == "interrupted"


def test_what_is_reused_keeps_what_its_own_run_wrote(tmp_path):
    first = pipeline(tmp_path)
    first.construct(INLINE)
    before = measured(first)
    (tmp_path / "pipeline_state" / "metrics.json").write_text(json.dumps(before | {"evaluate": {"cpu": {"score": 3}}}))
    second = pipeline(tmp_path, suffix="!")
    second.construct(INLINE)
    after = measured(second)
    assert after["source"] == before["source"]
    assert after["evaluate"] == {"cpu": {"score": 3}}
    assert (before["fan"]["run"], after["fan"]["run"]) == ("0001", "0002")


def test_a_file_that_cannot_be_written_does_not_end_the_run(tmp_path):
    made = pipeline(tmp_path)
    (tmp_path / "pipeline_state" / "metrics.lock").mkdir(parents=True)
    result = made.construct(INLINE)
    assert result.status == "done"
    events = read_events(made.state_folder / "runs" / "0001" / "events.jsonl")
    said = [event.message for event in events if isinstance(event, LogLine)]
    assert said == ["metrics.json cannot be written: Is a directory; the run goes on without it"]
    assert not list(made.state_folder.glob(".writing-metrics.json*"))
