from __future__ import annotations

from pathlib import Path

from qairt.engine.record.history_file import HistoryFile


def test_each_kind_of_line_is_read_alone(tmp_path: Path):
    history = HistoryFile(tmp_path)
    lines = [{"stage": "fan", "seconds": 1.0}, {"run": 1, "size": 2}, {"evaluation": 1, "target": "cpu"}]
    for line in lines:
        history.append(line)
    with history.path.open("a") as file:
        file.write('{"run": 1, "si')
    assert [history.read(kind) for kind in ("cost", "run", "evaluation")] == [[line] for line in lines]


def test_no_file_is_no_history(tmp_path: Path):
    assert HistoryFile(tmp_path / "none").read("cost") == []
