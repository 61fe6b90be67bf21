"""The run on the screen: what replacing its session forgets and keeps, and the exit code of the program."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError, RecipeError
from qairt.tui.session import PlanSession, ThreadSession
from qairt.tui.shown_run import ShownRun


def session(folder: Path) -> ThreadSession:
    pipeline = Pipeline([toy.Source(), toy.Fan()], folder)
    return ThreadSession(pipeline, RunOptions(jobs=1, memory=10**9, executor="inline"), RunState())


@pytest.fixture
def run() -> ShownRun:
    return ShownRun(PlanSession(RunState()))


def test_events_of_another_session_are_not_mixed_with_those_before(tmp_path, run):
    first = session(tmp_path)
    run.replace(first)
    first.execute()
    assert run.poll()
    run.printed = len(run.events)
    run.replace(PlanSession(RunState()))
    assert (run.events, run.printed) == ([], 0)
    assert run.own is first


def test_a_run_of_this_process_is_active_until_it_is_over(tmp_path, run):
    own = session(tmp_path)
    assert not run.is_active
    run.replace(own)
    assert run.is_active
    assert run.is_in_process
    assert run.exit_code(None) == 0
    own.execute()
    run.poll()
    assert not run.is_active
    assert run.active_folder is None
    assert run.exit_code(None) == 0


def test_an_error_is_reported_once_and_is_the_exit_code(tmp_path, run):
    (tmp_path / "pipeline_state").write_text("in the way")
    own = session(tmp_path)
    run.replace(own)
    own.execute()
    error = run.take_error()
    assert isinstance(error, CacheError)
    assert (own.state.status, own.state.error) == ("failed", str(error)), "the header and the end page say why"
    assert run.take_error() is None
    assert run.exit_code(None) == CacheError("x").exit_code


def test_without_a_run_a_recipe_that_cannot_be_planned_is_the_exit_code(run):
    assert run.exit_code(None) == 0
    assert run.exit_code(RecipeError("x")) == 2


def test_a_pending_request_is_the_remark(tmp_path):
    own = session(tmp_path)
    assert own.remark == ""
    own._pending["1"] = "cancel_run"
    assert own.remark == "cancel run requested…"
