"""An item whose process was ended for its memory is tried once more, alone, and what it needed is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_stages as toy
from starting_stages import Hog, HogConfig

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions

NEEDED = 150_000_000


def run_hog(folder: Path, **settings) -> tuple[Pipeline, list[ev.Event], list[str]]:
    config = HogConfig(arn=[1, 2, 3, 4], attempts=folder / "attempts", **settings)
    pipeline = Pipeline([toy.Source(), Hog(config)], folder / "cache")
    seen: list[ev.Event] = []
    pipeline.add_listener(seen.append)
    result = pipeline.construct(RunOptions(jobs=3, memory=10**9))
    return pipeline, seen, [str(failed) for failed in result.failed]


@pytest.mark.parametrize("how", ["killed", "compiler", "MemoryError"])
def test_it_is_tried_once_more_with_nothing_beside_it(tmp_path: Path, how: str):
    pipeline, seen, failed = run_hog(tmp_path, how=how)
    assert failed == []
    (said,) = [event.message for event in seen if isinstance(event, ev.LogLine)]
    why = {
        "killed": "its process was ended by SIGKILL",
        "compiler": "the compiler was killed by SIGKILL",
        "MemoryError": "it ran out of memory",
    }[how]
    assert said == f"hog ar2 ran out of memory ({why}): it is tried once more, alone"
    _, second = (tmp_path / "attempts").read_text().splitlines()
    assert second.startswith("[] ")


def test_what_it_needed_is_expected_from_then_on(tmp_path: Path):
    pipeline, _, failed = run_hog(tmp_path, killed=2)
    assert len(failed) == 1
    assert failed[0].startswith("hog ar2: its process was ended by SIGKILL\n  the machine probably ran out of memory: ")
    assert len((tmp_path / "attempts").read_text().splitlines()) == 2, "once more, not for ever"
    again = Pipeline(pipeline.configured_stages, tmp_path / "cache").plan()
    (hog,) = [item for item in again.items if item.name == "hog ar2"]
    assert hog.peak_ram >= NEEDED
    assert not hog.from_history, "a killed attempt says nothing about its time"
