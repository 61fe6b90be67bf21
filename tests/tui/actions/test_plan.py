"""Planning again after an edit."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_project import SIZE, shown, toy_app, toy_project, until, write_toy_recipe

from qairt.tui.actions.plain_terminal import PlainTerminalActions
from qairt.tui.app import LaunchOptions
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.screens.why import WhyScreen

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_why_after_an_edit(tmp_path):
    project = toy_project(tmp_path)
    app = toy_app(tmp_path, project=project, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
    write_toy_recipe(tmp_path, fan="suffix: '!'")
    app = toy_app(tmp_path, project=project)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await until(pilot, lambda: "stages.fan.suffix" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await until(pilot, lambda: app.workspace.monitor.matrix.select(("join", "all")))
        assert app.session.state.items["join", "all"].status == "stale"
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))
        assert "stages.fan.suffix" in shown(app)


async def test_a_broken_recipe_is_shown_with_its_line_and_planned_again_after_the_edit(tmp_path, monkeypatch):
    path = write_toy_recipe(tmp_path)
    good = path.read_text()
    path.write_text(good.replace("sleep", "sleeep"))
    app = toy_app(tmp_path, recipe=path)
    fixed: list[Path] = []

    def edit(self, file, line):
        fixed.append(file)
        file.write_text(good)
        return True

    monkeypatch.setattr(PlainTerminalActions, "edit", edit)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await until(pilot, lambda: "toy.yaml:5" in shown(app))
        assert "did you mean sleep?" in shown(app)
        await pilot.press("e")
        await until(pilot, lambda: app.project.planned.plan is not None)
        await until(pilot, lambda: "join" in shown(app))
    assert fixed == [path]
