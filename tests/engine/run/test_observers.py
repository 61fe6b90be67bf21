"""Observers get the stage's real input and output."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.observers import StageObserver
from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions


class Watcher(StageObserver):
    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def run_before_stage(self, stage, stage_config, stage_input):
        self.seen.append(("before", stage.name, type(stage_input), stage_input, None))

    def run_after_stage(self, stage, stage_config, stage_input, stage_output):
        assert stage_config is stage.config
        self.seen.append(("after", stage.name, type(stage_input), stage_input, stage_output))


@pytest.fixture
def seen(tmp_path: Path) -> list[tuple]:
    stages = [toy.Source(), toy.Fan(), toy.Join()]
    made = Pipeline(stages, tmp_path)
    watcher = Watcher()
    made.add_observer(watcher)
    assert made.construct(RunOptions(executor="inline", jobs=1, memory=10**9)).status == "done"
    return watcher.seen


def test_the_input_is_what_the_stage_reads(seen):
    by_stage = {(when, stage): (kind, stage_input) for when, stage, kind, stage_input, _ in seen}
    assert by_stage["before", "source"][0] is toy.Source.input_type
    for stage in (toy.Fan, toy.Join):
        for when in ("before", "after"):
            kind, stage_input = by_stage[when, stage.name]
            assert kind is stage.input_type
            assert stage_input.text.is_file()
    assert by_stage["before", "fan"][1].text.read_text() == "hello"


def test_the_output_is_what_the_stage_made(seen):
    outputs = {stage: output for when, stage, _, _, output in seen if when == "after"}
    assert outputs["source"].text.read_text() == "hello"
    assert isinstance(outputs["fan"], toy.Text)
    assert isinstance(outputs["join"], toy.Joined)


def test_each_stage_is_announced_once_before_and_once_after(seen):
    assert [(when, stage) for when, stage, *_ in seen] == [
        (when, stage) for stage in ("source", "fan", "join") for when in ("before", "after")
    ]
