"""How far a run is, part by part."""

from __future__ import annotations

import pytest

from qairt.engine.record.item_state import ItemState
from qairt.engine.record.progress import Progress, progress_of
from qairt.engine.record.state import RunState


def item(name: str, status: str, seconds: float, **fields: object) -> ItemState:
    return ItemState(name, "x", status=status, expected_seconds=seconds, **fields)


def state(*items: ItemState) -> RunState:
    return RunState(items={(each.stage, each.label): each for each in items})


def test_each_part_of_the_plan_has_its_share_of_the_expected_time():
    found = progress_of(
        state(
            item("a", "cached", 20),
            item("b", "done", 5),
            item("c", "warn", 5),
            item("d", "running", 20, started=0.0, fraction=0.5),
            item("e", "failed", 10),
            item("f", "blocked", 10),
            item("g", "cancelled", 5),
            item("h", "interrupted", 5),
            item("i", "waiting", 20),
        ),
        1000.0,
    )
    parts = (found.cached, found.done, found.running, found.lost, found.cancelled)
    assert parts == pytest.approx((0.2, 0.1, 0.1, 0.2, 0.1))
    assert found.reported == pytest.approx(0.1)
    assert found.certain == pytest.approx(0.2 / 0.8)


def test_what_failed_or_was_cancelled_is_no_progress():
    lost = [item("a", "done", 1), item("b", "failed", 500), item("c", "blocked", 500), item("d", "cancelled", 999)]
    assert progress_of(state(*lost), 0.0).certain == pytest.approx(1 / 2000)


def test_the_clock_makes_nothing_certain_however_long_an_item_runs():
    running = state(item("a", "running", 38, started=0.0))
    assert progress_of(running, 221.0).certain == 0
    assert progress_of(running, 221.0).running == pytest.approx(0.95)


def test_a_run_with_nothing_to_do_is_finished():
    assert progress_of(state(item("a", "cached", 10)), 0.0).certain == 1.0
    assert progress_of(RunState(), 0.0) == Progress()
