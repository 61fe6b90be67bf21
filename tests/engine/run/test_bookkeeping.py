"""Records that cannot be written are warned of once each, and the run is done all the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions

RECORDS = ("history.jsonl", "manifest.json", "metrics.json")


def test_records_that_cannot_be_written_end_no_run(tmp_path: Path):
    stages = [toy.Source(), toy.Fan(), toy.Upper(toy.LaterConfig()), toy.Join()]
    Pipeline(stages[:1], tmp_path).construct(RunOptions(executor="inline"))
    records = [str(tmp_path / "pipeline_state" / name) for name in RECORDS]
    if subprocess.run(["chattr", "+i", *records], capture_output=True).returncode:
        pytest.skip("files cannot be made immutable here")
    try:
        pipeline = Pipeline(stages, tmp_path)
        seen: list[ev.Event] = []
        pipeline.add_listener(seen.append)
        result = pipeline.construct(RunOptions(executor="inline", jobs=1)).result
    finally:
        subprocess.run(["chattr", "-i", *records], check=True)
    assert (result.status, len(result.executed)) == ("done", 4)
    assert sorted(event.message for event in seen if isinstance(event, ev.LogLine)) == [
        "metrics.json cannot be written: Operation not permitted; the run goes on without it",
        "the manifest cannot be written: Operation not permitted; the run goes on without it",
        "what items cost is not recorded: Operation not permitted; the run goes on without it",
    ]
