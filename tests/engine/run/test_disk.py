"""A plan that does not fit on the disk is warned of, and one that cannot end is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import Estimate, Expansion, Stage, StageConfig, StageInput, Task
from qairt.errors import CacheError
from qairt.machine import free_space

REMEDY = "free space on that disk (`qairt cache prune` removes what no run needs), or use another one with --cache-dir"


class WideConfig(StageConfig):
    bytes: int


class Wide(Stage[WideConfig, StageInput, toy.Text]):
    name = "wide"

    def expand(self, batch, env) -> Expansion:
        return Expansion([Task(coord=(), sources=(), estimate=Estimate(bytes=self.config.bytes))])

    def run(self, task, context) -> toy.Text:
        path = context.directory / "text.txt"
        path.write_text("much less")
        return toy.Text(text=path)


def run(folder: Path, size: int) -> tuple[Pipeline, list[ev.Event]]:
    pipeline = Pipeline([Wide(WideConfig(bytes=size))], folder)
    seen: list[ev.Event] = []
    pipeline.add_listener(seen.append)
    pipeline.construct(RunOptions(executor="inline"))
    return pipeline, seen


def warnings_of(seen: list[ev.Event]) -> list[str]:
    return [event.message for event in seen if isinstance(event, ev.LogLine)]


def test_a_plan_that_may_not_fit_is_warned_of_and_runs(tmp_path: Path):
    free = free_space(tmp_path)
    pipeline, seen = run(tmp_path, 2 * free)
    (warning,) = warnings_of(seen)
    assert warning.startswith(f"the disk of {pipeline.state_folder} may become full: the run writes about ")
    assert warning.endswith(f" is free; {REMEDY}")
    assert pipeline.result.status == "done"
    assert warnings_of(run(tmp_path, free // 2)[1]) == []


def test_a_run_that_cannot_end_does_not_start(tmp_path: Path):
    with pytest.raises(CacheError, match="no space left on device: the run writes about .*, and .* is free") as caught:
        run(tmp_path, 100 * free_space(tmp_path))
    assert caught.value.remedy == REMEDY
    assert not list(tmp_path.rglob("cache_entry.json"))
    (events,) = tmp_path.rglob("events.jsonl")
    assert [event.status for event in ev.read_events(events) if isinstance(event, ev.RunFinished)] == ["failed"]
