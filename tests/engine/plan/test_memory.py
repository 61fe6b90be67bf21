"""A limit of memory below what one item alone needs is told of, by stage."""

from __future__ import annotations

from pathlib import Path

import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.memory import memory_warnings
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions


def test_items_above_the_limit_are_told_in_plan_and_run(tmp_path: Path):
    made = Pipeline([toy.Source(), toy.Fan()], tmp_path)
    expected = [
        "the memory limit of 999 B is below what one item is expected to need of source (1 kB), fan (1 kB):"
        " such an item runs alone, and may run out of memory"
    ]
    assert memory_warnings(made.plan(), 999) == expected
    assert memory_warnings(made.plan(), 1000) == []
    seen: list[ev.Event] = []
    made.add_listener(seen.append)
    made.construct(RunOptions(executor="inline", memory=999))
    assert [event.message for event in seen if isinstance(event, ev.LogLine)] == expected
    assert memory_warnings(made.plan(), 999) == []
