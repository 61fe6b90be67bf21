"""Progress out of a compiler's log."""

from __future__ import annotations

import pytest

from qairt.toolchain.progress import step_of
from qairt.toolchain.qnn import process as qnn_process


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("qairt: graph 1 of 2", (0.0, "compiling graph 1 of 2")),
        ("qairt: graph 2 of 2\r\n", (0.5, "compiling graph 2 of 2")),
        ("qairt: graph 3 of 2", None),
        ("qairt: graph 0 of 0", None),
        ("qairt: graph 1 of 9999999999999999999", None),
        ("said qairt: graph 1 of 2", None),
        ("[W:onnxruntime:, qnn_execution_provider.cc:933 QnnEp] graph 1 of 2", None),
        ("", None),
    ],
)
def test_lines(line, step):
    assert step_of(line) == step


CHILD = """
import json, sys, time
for line in ["noise", "qairt: graph 1 of 2", "a" * 100_000, "\\udcff", "qairt: graph 2 of 2"]:
    sys.stdout.buffer.write(line.encode(errors="surrogateescape") + b"\\n")
    sys.stdout.flush()
json.dump({"fixed_addresses": True}, open("result.json", "w"))
"""


def test_the_log_goes_on_and_progress_is_picked_out_of_it(tmp_path, monkeypatch, capfd):
    (tmp_path / "compile_child.py").write_text(CHILD)
    monkeypatch.setattr(qnn_process, "__file__", str(tmp_path / "process.py"))
    seen = []
    result = qnn_process.run_job(tmp_path, {}, where="x", progress=lambda *step: seen.append(step))
    assert result == {"fixed_addresses": True}
    assert seen == [(0.0, "compiling graph 1 of 2"), (0.5, "compiling graph 2 of 2")]
    assert "noise\nqairt: graph 1 of 2\n" in capfd.readouterr().err
