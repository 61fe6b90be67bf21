"""Reports of stages, as the commands show them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from toy_outputs import Speaker

from qairt.engine import stage as stage_module

INLINE = ("--executor", "inline", "--no-tui")
RECIPE = """\
model_id_or_path: org/Toy-1B
backend: CPU
cache_dir: cache
stages:
  source: {text: hello}
  speaker:
    output:
      prediction: {enable: true}
"""


@pytest.fixture(autouse=True)
def speaker(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_registry", {**stage_module.registered_stages(), "speaker": Speaker})
    (place / "speak.yaml").write_text(RECIPE)


def test_a_plan_names_those_that_are_due(qairt):
    assert qairt("plan", "speak.yaml").out.endswith(
        "\n2 reports to write:\n"
        "  stage    report         folder              why it is written\n"
        "  speaker  prediction     cache/speaker/pred  not written yet\n"
        "  speaker  visualization  cache/speaker/viz   not written yet\n"
    )
    qairt("run", "speak.yaml", *INLINE)
    assert qairt("plan", "speak.yaml").out.endswith("\nNothing to run: 2 items, all cached.\n")
    moved = qairt("plan", "speak.yaml", "stages.speaker.output.visualization.save_dir=v")
    assert "Nothing to run: 2 items, all cached.\n\n1 report to write:\n" in moved.out
    assert "for people" not in qairt("plan", "speak.yaml", "--brief", "--force", "speaker").out


def test_a_run_prints_where_its_reports_are(qairt, place: Path):
    said = qairt("run", "speak.yaml", *INLINE)
    assert said.code == 0
    assert re.search(rf"speaker prediction: 1 file, \d+ B, in {place}/cache/speaker/pred\n", said.out)
    assert said.out.endswith(
        "\nspeaker prediction: cache/speaker/pred/predictions.jsonl\n"
        "speaker visualization: cache/speaker/viz/predictions.md\n"
    )


def test_a_failed_picture_is_reported_with_its_remedy(qairt):
    said = qairt("run", "speak.yaml", "stages.speaker.fail_drawing=theirs", *INLINE)
    assert said.code == 1
    assert "speaker visualization: FAILED: ZeroDivisionError: division by zero\n" in said.out
    assert "ZeroDivisionError: division by zero\n  the items are kept; this is a bug in the stage\n" in said.err
    assert "Traceback" not in said.out + said.err


def test_events_as_json(qairt):
    events = [event for event in qairt("run", "speak.yaml", *INLINE, "--json").events if event["type"] == "output"]
    assert [(event["kind"], event["status"]) for event in events][-1] == ("visualization", "written")
    assert json.dumps(events[-1]["files"]) == '["gallery.html", "predictions.md", "words_0.svg"]'


def test_check_names_old_keys_and_what_cannot_be(qairt, place: Path):
    (place / "old.yaml").write_text(RECIPE.replace("stages:", "outputs: {save_predictions: true}\nstages:"))
    said = qairt("check", "old.yaml")
    assert said.code == 0
    assert "outputs.save_predictions (" in said.out
    said = qairt("check", "speak.yaml", "stages.source.output.prediction.enable=true")
    assert said.code == 2
    assert "source writes no predictions" in said.out


def test_a_report_draws_what_nobody_has_looked_at_and_links_it(qairt, place: Path):
    recipe = RECIPE.replace("prediction: {enable: true}", "visualization: {save_dir: my pictures}")
    (place / "speak.yaml").write_text(recipe)
    said = qairt("run", "speak.yaml", *INLINE)
    assert "visualization" not in said.out
    assert not (place / "cache/speaker").exists()
    first = qairt("report", "speak.yaml")
    assert "Pictures drawn: speaker\n" in first.out
    page = (place / "cache/report.html").read_text()
    assert '<a href="speaker/my%20pictures/gallery.html"><code>speaker/my pictures</code></a>' in page
    assert (place / "cache/speaker/my pictures/gallery.html").is_file()
    assert "Pictures drawn" not in qairt("report", "speak.yaml").out
    again = qairt("report", "speak.yaml", "--html", "elsewhere/a.html", "--json")
    assert again.data["drawn"] == []
    page = (place / "elsewhere/a.html").read_text()
    assert '<a href="../cache/speaker/my%20pictures/gallery.html">' in page


def test_a_report_draws_nothing_for_a_recipe_that_forbids_it(qairt, place: Path):
    (place / "speak.yaml").write_text(RECIPE.replace("prediction: {enable: true}", "visualization: {enable: false}"))
    qairt("run", "speak.yaml", *INLINE)
    assert "Pictures" not in qairt("report", "speak.yaml").out
    assert not (place / "cache/speaker").exists()


def test_a_report_says_what_could_not_be_drawn(qairt, place: Path):
    (place / "speak.yaml").write_text(RECIPE.replace("output:\n      prediction: {enable: true}", "fail_drawing: ours"))
    qairt("run", "speak.yaml", *INLINE)
    said = qairt("report", "speak.yaml")
    assert said.code == 0
    sentence = "The pictures of speaker were not drawn: node_7: there is nothing to draw"
    assert f"{sentence}\n" in said.out
    assert sentence in (place / "cache/report.html").read_text()
