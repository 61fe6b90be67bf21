from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.record.metrics_file import MetricsFile
from qairt.engine.run.options import RunOptions

WRITER = """
import sys
from pathlib import Path
from qairt.engine.record.metrics_file import MetricsFile

metrics, name = MetricsFile(Path(sys.argv[1])), sys.argv[2]
for number in range(40):
    metrics.change(lambda sections: sections.setdefault(name, {}).update({str(number): number}))
"""


def test_several_processes_lose_no_change(tmp_path: Path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name]) for name in ("fan", "evaluate")]
    assert [writer.wait() for writer in writers] == [0, 0]
    everything = {str(number): number for number in range(40)}
    assert MetricsFile(tmp_path).read() == {"fan": everything, "evaluate": everything}
    assert MetricsFile(tmp_path).section("fan") == everything


@pytest.mark.parametrize("content", ["[1]", "{", "null", "[" * 100_000])
def test_a_damaged_file_is_empty_and_set_aside_by_the_next_change(tmp_path: Path, content: str):
    metrics = MetricsFile(tmp_path)
    metrics.path.write_text(content)
    assert metrics.read() == metrics.section("fan") == {}
    assert metrics.is_damaged()
    metrics.change(lambda sections: sections.update({"fan": {"items": 1}}))
    assert json.loads(metrics.path.read_text()) == {"fan": {"items": 1}}
    assert not metrics.is_damaged()
    (aside,) = tmp_path.glob(".bad-metrics.json-*")
    assert aside.read_text() == content


def test_a_run_warns_of_a_damaged_file(tmp_path: Path):
    pipeline = Pipeline([toy.Source()], tmp_path)
    metrics = MetricsFile(pipeline.state_folder)
    assert not metrics.is_damaged()
    metrics.path.parent.mkdir()
    metrics.path.write_text('{"evaluate": {"perplexity":')
    seen: list[ev.Event] = []
    pipeline.add_listener(seen.append)
    pipeline.construct(RunOptions(executor="inline", jobs=1))
    (warning,) = [event.message for event in seen if isinstance(event, ev.LogLine) and event.level == "warning"]
    assert warning == f"{metrics.path} is damaged; it will be set aside, and the scores in it are not shown"
    assert metrics.section("source")["status"] == "done"
