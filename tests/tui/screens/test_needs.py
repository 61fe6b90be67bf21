"""The dependencies of an item on the screen."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toy_app, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.needs import NeedsScreen

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_an_item_is_chosen_by_what_it_needs(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done")
        matrix = app.workspace.monitor.matrix
        matrix.select(("upper", "ar2"))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NeedsScreen))
        assert "is needed by" in shown(app)
        assert "✓ fan ar2" in shown(app)
        await pilot.press("g", "down", "enter")
        assert matrix.selected_item == ("fan", "ar2")
        await pilot.press("n", "escape")
        assert app.workspace.is_monitor_on_top
        assert matrix.selected_item == ("fan", "ar2")
