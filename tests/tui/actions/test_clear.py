"""Clearing and undo."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toasts, toy_app, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.clear import ClearScreen
from qairt.tui.screens.plan import PlanScreen

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_clear_and_undo_from_the_keyboard(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    state = tmp_path / "cache" / "pipeline_state"
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        manifest = (state / "manifest.json").read_bytes()
        files = {path: path.stat().st_ino for path in state.glob("fan/*/*")}
        app.workspace.monitor.matrix.select(("fan", "ar2"))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ClearScreen))
        await pilot.press("y")
        await until(pilot, lambda: len(list(state.glob("fan/fan_*"))) == 2)
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await pilot.press("z")
        await until(pilot, lambda: len(list(state.glob("fan/fan_*"))) == 3)
        await until(pilot, lambda: (state / "manifest.json").read_bytes() == manifest)
        assert {path: path.stat().st_ino for path in state.glob("fan/*/*")} == files


async def test_what_was_cleared_shows_everywhere_until_it_is_back(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=(200, 50)) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await until(pilot, lambda: "7/7 items" in shown(app))
        app.workspace.monitor.matrix.select(("join", "all"))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ClearScreen) and "at the next prune" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: "6/7 items" in shown(app))
        assert app.session.state.items["join", "all"].status == "cleared"
        assert "s ago · z brings it back" in shown(app)  # the header
        assert "□ cleared: " in shown(app)  # the detail
        assert "at the next prune; undo brings it back" in toasts(app)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen) and "□ cleared" in shown(app))
        assert "brings it back" in shown(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.workspace.is_monitor_on_top)
        await pilot.press("z")
        await until(pilot, lambda: "7/7 items" in shown(app))
        assert app.session.state.items["join", "all"].status == "done"
        assert "cleared" not in shown(app).splitlines()[1]
