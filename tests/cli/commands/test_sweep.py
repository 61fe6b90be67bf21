"""`qairt sweep`."""

from __future__ import annotations

from pathlib import Path

import pytest

from qairt.engine.record.folder import RunFolder
from qairt.engine.record.runs import compare
from qairt.tui.lines.compare import compare_lines
from qairt.tui.terminal.glyphs import Look


def test_every_combination_runs_over_one_cache(qairt):
    said = qairt("sweep", "toy.yaml", "stages.source.text=hello,bye", "stages.fan.arn=[1],[1,2]", "--json")
    assert said.code == 0
    found = said.data["combinations"]
    assert [each["values"] for each in found] == [
        {"stages.source.text": text, "stages.fan.arn": arn} for text in ("hello", "bye") for arn in ("[1]", "[1,2]")
    ]
    assert [each["state"] for each in found] == ["done"] * 4
    assert [(each["made"], each["cached"]) for each in found] == [(3, 0), (3, 2)] * 2
    assert [each["run"] for each in found] == ["0001", "0002", "0003", "0004"]
    assert "[2 of 4] stages.source.text=hello, stages.fan.arn=[1,2]" in said.err


def test_the_table_is_printed_in_the_report_and_beside_the_comparison(qairt, place):
    said = qairt("sweep", "toy.yaml", "stages.source.text=hello,bye")
    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines() if line]
    assert lines[0] == ["text", "run", "state", "built", "cached", "time", "peak", "RAM", "size"]
    assert [line[:5] for line in lines[1:3]] == [["hello", "0001", "done", "5", "0"], ["bye", "0002", "done", "5", "0"]]
    assert lines[3] == ["next:", "qairt", "report", "toy.yaml"]
    assert qairt("report", "toy.yaml", "--md", "page.md", "--html", "page.html").code == 0
    assert "| hello | 0001 | done |" in Path("page.md").read_text()
    assert '<h2 id="sweep">Sweep</h2>' in Path("page.html").read_text()
    runs = place / "cache" / "pipeline_state" / "runs"
    found = [
        line.text
        for line in compare_lines(compare(RunFolder(runs / "0001"), RunFolder(runs / "0002")), Look(), width=99)
    ]
    at = found.index("Sweep 1")
    assert found[at + 1].split()[:3] == ["text", "run", "state"]
    assert found[at + 3].split()[:3] == ["bye", "0002", "done"]


def test_a_combination_that_fails_does_not_stop_the_others(qairt):
    said = qairt("sweep", "toy.yaml", "stages.fan.fail_at=2,null")
    assert said.code == 1
    lines = [line.split() for line in said.out.splitlines() if line]
    assert [line[2] for line in lines[1:3]] == ["failed", "done"]
    assert any(line[0].startswith("stages.fan.fail_at=2:") for line in lines[3:])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["stages.fan.arn=[1],[0, x]"], "with stages.fan.arn=[0, x]:\n"),
        (["stages.fan.arn=[1]"], "nothing to sweep: no setting has several values"),
    ],
)
def test_nothing_runs_when_a_combination_is_wrong(qairt, place, values, message):
    said = qairt("sweep", "toy.yaml", *values)
    assert said.code == 2
    assert message in said.err
    assert not (place / "cache" / "pipeline_state" / "runs").exists()
