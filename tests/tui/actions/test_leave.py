"""Leaving the app."""

from __future__ import annotations

import pytest
from toy_project import SIZE, toy_app, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.leave import LeaveScreen
from qairt.tui.session import ThreadSession

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_leaving_asks_while_a_run_is_active_and_never_ends_it(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), sleep=1.0)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("j", "enter")  # stay
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        assert app.session.state.status == "running"
        await pilot.press("q", "enter")  # leave: the run goes on
        await pilot.pause()
    session = app.session
    assert isinstance(session, ThreadSession)
    assert session.over.wait(20)
    session.poll()
    assert session.state.status == "done"
