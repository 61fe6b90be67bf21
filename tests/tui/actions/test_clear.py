"""Clearing and undo."""

from __future__ import annotations

import pytest
from toy_project import SIZE, toy_app, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.clear import ClearScreen

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
