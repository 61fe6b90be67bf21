"""Requests to the run: pause, cancel, retry."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toy_app, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.leave import CancelRunScreen

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


async def test_an_item_is_cancelled_and_retried(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), sleep=1.5)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running") == 2)
        app.workspace.monitor.matrix.select(("fan", "ar2"))
        await pilot.press("x")
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
