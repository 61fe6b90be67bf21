"""Requests to the run: pause, cancel, retry."""

from __future__ import annotations

import threading

import pytest
import wait
from recorded_runs import entries
from toy_project import SIZE, shown, toy_app, toy_project, until

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.tui.actions.requests import what_is_lost
from qairt.tui.app import LaunchOptions
from qairt.tui.screens.leave import CancelRunScreen, ConfirmScreen
from qairt.tui.session import ThreadSession

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_cancelling_needs_the_runs_id(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), sleep=3.0)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, CancelRunScreen))
        await pilot.press("y", "enter")
        assert app.session.state.status == "running"
        await pilot.press("0", "0", "0", "1", "enter")
        await until(pilot, lambda: app.session.state.status == "interrupted")
        await pilot.press("q")
    assert app.return_code == 130


async def test_the_question_goes_away_when_the_run_has_ended(tmp_path):
    (held := tmp_path / "held").touch()
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan=f"hold_while: {held}")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, CancelRunScreen))
        held.unlink()
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        assert app.session.state.status == "done"


async def test_a_request_before_the_next_run_has_begun_is_for_that_run(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed")
        first = app.session
        await pilot.press("r")
        await until(pilot, lambda: app.session is not first)
        assert app.session.state.run_id in ("", "0002")
        await until(pilot, lambda: app.session.state.status == "failed")


async def test_an_item_is_cancelled_and_retried(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), sleep=3.0)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running") == 2)
        app.workspace.monitor.matrix.select(("fan", "ar2"))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen) and "Cancel fan ar2?" in shown(app))
        text = " ".join(shown(app).split())
        assert "2 items that need it will not run." in text.replace("│ ", "").replace(" │", "")
        await pilot.press("y")
        await until(pilot, lambda: app.session.state.items["fan", "ar2"].status == "cancelled")
        await until(pilot, lambda: app.session.state.status == "interrupted" and not app.workspace.run.is_active)
        await pilot.press("r")
        await until(pilot, lambda: app.session.state.run_id == "0002" and app.session.state.status == "done")
        statuses = {item.name: item.status for item in app.session.state.items.values()}
        assert statuses["fan ar1"] == "cached"
        assert statuses["fan ar2"] == "done"


async def test_pause_and_resume(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), sleep=0.5, jobs=1)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        await pilot.press("space")
        await until(pilot, lambda: app.session.state.paused)
        await until(pilot, lambda: "paused" in shown(app))
        await pilot.press("space")
        await until(pilot, lambda: app.session.state.status == "done")


async def test_behind_a_dialog_the_header_goes_on(tmp_path):
    (held := tmp_path / "held").touch()
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan=f"hold_while: {held}")
    async with app.run_test(size=SIZE) as pilot:
        try:
            await until(pilot, lambda: app.session.state.count("running") == 2)
            await pilot.press("X")
            await until(pilot, lambda: isinstance(app.screen, CancelRunScreen))
            before = clock(app)
            await until(pilot, lambda: clock(app) > before)
            assert isinstance(app.screen, CancelRunScreen)
        finally:
            held.unlink()  # or the run's thread would never end


def clock(app) -> str:
    """The time in the header."""
    return shown(app).partition(" running ")[2][: len("00:00:00")]


@pytest.mark.parametrize("action", ["pause", "cancel_run"])
def test_a_request_from_before_the_run_has_an_id_is_sent_once_it_has(tmp_path, action):
    session = toy_session(tmp_path)
    session.request(action)
    assert session.remark == f"{action.replace('_', ' ')} requested…"
    thread = threading.Thread(target=session.execute)
    thread.start()
    answered = []
    wait.until(lambda: answered.extend(e for e in session.poll() if isinstance(e, ev.RequestAnswered)) or answered)
    assert [(answer.action, answer.done) for answer in answered] == [(action, True)]
    assert session.remark == ""
    session.pipeline.stop.set()
    thread.join(20)


def toy_session(folder) -> ThreadSession:
    """A run that has not begun, whose items take a while."""
    project = toy_project(folder, sleep=2.0)
    return ThreadSession(project.open_pipeline(), project.options, RunState())


def test_what_cancelling_costs_is_said():
    state = RunState.of_plan([*entries(splits=1)])
    item = state.items["convert", "ar1-split1"]
    item.status, item.started, item.fraction = "running", 100.0, 0.625
    assert what_is_lost(state, item, 321.0) == (
        "It has run for 3 min 41 s, and is 62% done; that is lost unless its stage can resume."
        " 1 item that needs it will not run."
    )
