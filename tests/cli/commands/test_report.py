"""`qairt report`: after a run, before one, of one that failed or was cut off, and where it cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import recorded_runs as recorded

REPORT = Path("cache") / "report.html"


def run(qairt, *words: str) -> int:
    return qairt("run", "toy.yaml", *words, "--executor", "inline", "--no-tui").code


def test_after_a_run(qairt):
    assert run(qairt) == 0
    said = qairt("report", "toy.yaml")
    assert said.code == 0
    assert f"{REPORT}: run 0001" in said.out.replace(os.getcwd() + "/", "")
    assert "The quality of the quantized model was not measured: qairt evaluate toy.yaml" in said.out
    html = REPORT.read_text()
    assert html.startswith("<!doctype html>")
    for said_there in ("<title>an external graph, run 0001: done</title>", "ar1", "arn:", "toy.yaml", "not built yet"):
        assert said_there in html


def test_both_formats_at_the_requested_paths(qairt, place):
    assert run(qairt) == 0
    said = qairt("report", "toy.yaml", "--html", "out/a.html", "--md", "out/a.md", "--json")
    assert said.data["files"] == [str(place / "out/a.md"), str(place / "out/a.html")]
    assert said.data["state"] == "done"
    assert (place / "out/a.md").read_text().startswith("# an external graph: run 0001, done\n")
    assert not REPORT.exists()
    assert qairt("report", "toy.yaml", "--md", "only.md").code == 0
    assert not REPORT.exists()


def test_it_runs_and_changes_nothing(qairt, place):
    assert run(qairt) == 0
    state = place / "cache" / "pipeline_state"
    broken = next(state.glob("fan/fan_*/text.txt"))
    broken.unlink()
    before = {path: path.stat().st_mtime_ns for path in sorted(state.rglob("*"))}
    said = qairt("report", "toy.yaml")
    assert said.code == 0
    assert "1 of 2 results of fan is no longer in the cache: qairt run toy.yaml" in said.out
    after = {path: path.stat().st_mtime_ns for path in sorted(state.rglob("*"))}
    assert after == before


def test_before_a_run(qairt):
    said = qairt("report", "toy.yaml")
    assert said.code == 1
    assert "there is nothing to report: no run was started here yet" in said.err
    assert "qairt run toy.yaml" in said.err
    assert not REPORT.parent.exists()


def test_of_a_run_that_failed(qairt):
    assert run(qairt, "stages.fan.fail_at=2") == 1
    said = qairt("report", "toy.yaml", "stages.fan.fail_at=2", "--md", "a.md")
    assert said.code == 0
    assert "Run 0001 failed after" in said.out
    assert "1 item failed, 2 items of 5 not built. Resume it with: qairt run toy.yaml" in said.out
    text = Path("a.md").read_text()
    assert "## fan ar2 failed\n\nthis node is not supported (leave it out)" in text
    assert "| fan | 1\xa0built, 1\xa0failed |" in text


def test_of_a_run_that_was_cut_off(qairt, place):
    recorded.record(place / "cache" / "pipeline_state", "0001", recorded.half(), tail='{"v":1,"seq":9,"ty')
    said = qairt("report", "toy.yaml", "--md", "a.md")
    assert said.code == 0
    assert "Run 0001 was interrupted after" in said.out
    assert "1 of 1 result of convert is no longer in the cache" in said.out
    assert "interrupted" in Path("a.md").read_text()


def test_of_a_run_of_some_stages(qairt):
    assert run(qairt, "--until", "fan") == 0
    said = qairt("report", "toy.yaml")
    assert "This run did not include upper, join: qairt run toy.yaml" in said.out


def test_of_a_run_that_reused_everything(qairt):
    assert run(qairt) == 0
    assert run(qairt) == 0
    assert qairt("report", "toy.yaml", "--md", "a.md").code == 0
    text = Path("a.md").read_text()
    assert "Run 0002 built nothing; the timeline shows run 0001, which did." in text
    assert "Everything was in the cache" in text
    assert "2\xa0reused (by run 0001)" in text
    assert "| fan ar1 |" in text


def test_after_the_recipe_was_changed(qairt):
    assert run(qairt) == 0
    assert qairt("report", "toy.yaml", "stages.fan.suffix=X", "--md", "a.md").code == 0
    assert "The recipe has changed since this run: stages.fan.suffix nothing → X." in Path("a.md").read_text()


def test_where_it_cannot_be_written(qairt, place):
    assert run(qairt) == 0
    (place / "folder").mkdir()
    said = qairt("report", "toy.yaml", "--html", "folder")
    assert said.code == 1
    assert "folder: this is a folder\n" in said.err
    (place / "file").write_text("mine")
    said = qairt("report", "toy.yaml", "--html", "file/a.html")
    assert said.code == 1
    assert "the report cannot be written: " in said.err
    assert (place / "file").read_text() == "mine"


def test_a_disk_that_takes_no_more_costs_nothing_that_was_there(qairt, place, monkeypatch):
    assert run(qairt) == 0
    (place / "a.html").write_text("the report of before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = qairt("report", "toy.yaml", "--html", "a.html")
    assert said.code == 1
    assert said.err == (
        "Error: a.html: no space left on device\n"
        "  free space on that disk (`qairt cache prune` removes what no run needs), "
        "or give another path with --html or --md\n"
    )
    assert (place / "a.html").read_text() == "the report of before"
    assert sorted(path.name for path in place.iterdir()) == ["a.html", "cache", "toy.yaml"]


def test_no_torch_no_onnx(qairt, place):
    """It must be there in a moment, on a machine that could not run the model."""
    assert run(qairt) == 0
    program = (
        "import sys, conftest_toys; from qairt.cli.main import main; code = main(['report', 'toy.yaml']);"
        "print(code, sorted({'torch', 'onnx', 'onnxruntime', 'transformers'} & set(sys.modules)))"
    )
    (place / "conftest_toys.py").write_text(
        "import toy_stages as toy\nfrom qairt.engine import stage\nimport qairt.stages\n"
        "stage._registry.update({each.name: each for each in (toy.Source, toy.Fan, toy.Upper, toy.Join)})\n"
    )
    support = Path(__file__).parents[2] / "support"
    paths = os.pathsep.join([str(place), str(support), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
