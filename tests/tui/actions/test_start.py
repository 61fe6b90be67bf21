"""Starting a run from the keyboard or at launch."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toasts, toy_app, until

from qairt.engine.record.folder import live_runs, run_folders
from qairt.tui.app import LaunchOptions
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.session import ThreadSession

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_it_opens_on_the_plan_and_enter_runs_it(tmp_path):
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await until(pilot, lambda: "7 new" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.status == "done")
        assert app.screen is app.workspace.monitor
        assert isinstance(app.session, ThreadSession)
        await until(pilot, lambda: "7/7 items" in shown(app))
        await pilot.press("q")
    assert app.return_code == 0
    (folder,) = run_folders(tmp_path / "cache" / "pipeline_state")
    assert folder.liveness() == "over"


async def test_run_starts_at_once(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done")
        assert app.screen is app.workspace.monitor


async def test_no_live_run_is_left(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
    assert live_runs(tmp_path / "cache" / "pipeline_state") == []


async def test_why_a_run_cannot_start_is_shown_and_nothing_is_lost(tmp_path):
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        (tmp_path / "cache").write_text("in the way")
        await pilot.press("enter")
        await until(pilot, lambda: "cannot be written" in toasts(app))
        assert not app.workspace.run.is_active
        (tmp_path / "cache").unlink()
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.status == "done")


async def test_a_bug_in_the_engine_keeps_the_screen_and_leaves_a_traceback(tmp_path, monkeypatch):
    from qairt.engine.run.run import Run

    def fault(self, plan):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(Run, "_run_all", fault)
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "ZeroDivisionError: of all things" in toasts(app))
        assert app.session.state.status == "interrupted"
        assert app.screen is app.workspace.monitor
    assert "of all things" in (tmp_path / "XDG_STATE_HOME" / "qairt" / "tui.log").read_text()
