"""Planning again after an edit."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_project import SIZE, shown, toasts, toy_app, toy_project, until, write_toy_recipe

from qairt.tui import recipe_watch
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


async def test_an_edit_from_another_window_is_planned_and_named(tmp_path):
    path = write_toy_recipe(tmp_path)
    app = toy_app(tmp_path, recipe=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen) and "7 items" in shown(app))
        path.write_text(path.read_text().replace("arn: [1, 2, 3]", "arn: [1, 2, 3, 4]"))
        await until(pilot, lambda: "9 items" in shown(app))
        await until(pilot, lambda: "toy.yaml changed: stages.fan.arn: [1, 2, 3] → [1, 2, 3, 4]" in toasts(app))
        path.write_text(path.read_text().replace("sleep", "sleeep"))
        await until(pilot, lambda: "toy.yaml:5" in shown(app))
        await until(pilot, lambda: "toy.yaml changed: it cannot be planned" in toasts(app))
        path.write_text(path.read_text().replace("sleeep", "sleep"))
        await until(pilot, lambda: "9 items" in shown(app))


async def test_a_file_that_the_recipe_names_is_watched_too(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("one")
    path = write_toy_recipe(tmp_path)
    path.write_text(path.read_text().replace("{text: hello}", f"{{file: {words}}}"))
    app = toy_app(tmp_path, recipe=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen) and "7 items" in shown(app))
        before = [item.key for item in app.project.planned.plan.items]
        words.write_text("two")
        await until(pilot, lambda: "words.txt changed: planned again" in toasts(app))
        assert [item.key for item in app.project.planned.plan.items] != before


async def test_enter_never_runs_an_old_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_watch, "_INTERVAL", 1000.0)  # the key comes before the change is noticed
    path = write_toy_recipe(tmp_path)
    app = toy_app(tmp_path, recipe=path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen) and "7 items" in shown(app))
        path.write_text(path.read_text().replace("arn: [1, 2, 3]", "arn: [1, 2]"))
        await pilot.press("enter")
        await until(pilot, lambda: "5 items" in shown(app))
        assert "the recipe was changed: look at the new plan, then start it" in toasts(app)
        assert app.session.kind == "plan"
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        assert len(app.session.state.items) == 5
