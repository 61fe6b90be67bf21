from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qairt.engine.record.metrics_file import MetricsFile

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
def test_a_damaged_file_is_empty_and_replaced(tmp_path: Path, content: str):
    metrics = MetricsFile(tmp_path)
    metrics.path.write_text(content)
    assert metrics.read() == metrics.section("fan") == {}
    metrics.change(lambda sections: sections.update({"fan": {"items": 1}}))
    assert json.loads(metrics.path.read_text()) == {"fan": {"items": 1}}
