"""ASCII."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toy_app, until

from qairt.tui.app import LaunchOptions

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_ascii_mode_shows_only_ascii(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await pilot.press("a")
        await pilot.pause(0.3)
        assert [char for char in shown(app) if ord(char) > 126] == []
        await pilot.press("a")
        await pilot.pause(0.3)
        assert "╭" in shown(app)
