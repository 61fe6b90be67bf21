"""Opening screens, and going back."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toy_app, toy_project, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.help import HelpScreen
from qairt.tui.screens.log import LogScreen
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.screens.runs import RunsScreen
from qairt.tui.screens.theme import ThemeScreen
from qairt.tui.screens.why import WhyScreen
from qairt.tui.session import ReplaySession

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_every_screen_opens_and_goes_back(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        for key, screen in (("R", RunsScreen), ("question_mark", HelpScreen), ("t", ThemeScreen), ("p", PlanScreen)):
            await pilot.press(key)
            await until(pilot, lambda kind=screen: isinstance(app.screen, kind))
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.workspace.monitor)
        app.workspace.monitor.matrix.select(("fan", "ar1"))
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.screen, LogScreen))
        await until(pilot, lambda: "making ar 1" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await pilot.press("C")
        await until(pilot, lambda: "fan" in shown(app) and app.screen is not app.workspace.monitor)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)


async def test_an_earlier_run_is_replayed(tmp_path):
    project = toy_project(tmp_path)
    project.open_pipeline().construct(project.options)
    app = toy_app(tmp_path, project=project)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("escape", "R")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await until(pilot, lambda: "0001" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.session, ReplaySession))
        await until(pilot, lambda: app.session.state.status == "done")
        await pilot.press("X")
        await pilot.pause()
        assert app.screen is app.workspace.monitor


async def test_escape_goes_back_one_screen_at_a_time(tmp_path):
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
