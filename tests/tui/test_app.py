"""Launching the app, attaching to a run, and the palette."""

from __future__ import annotations

import re
import threading

import pytest
import wait
from rich.text import Text
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Label, Static
from toy_project import SIZE, shown, toasts, toy_app, toy_project, until

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.clear import ClearScreen
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.session import HostSession

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_it_attaches_to_an_active_run(tmp_path):
    project = toy_project(tmp_path, sleep=4.0)
    pipeline = project.open_pipeline()
    worker = threading.Thread(target=pipeline.construct, args=(project.options,))
    worker.start()
    wait.until(project.active_run)
    app = toy_app(tmp_path, project=project)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.session, HostSession))
        await until(pilot, lambda: app.session.state.status == "done")
        assert app.screen is app.workspace.monitor
    worker.join()


async def test_other_settings_of_an_active_run_are_reported(tmp_path):
    project = toy_project(tmp_path, sleep=4.0)
    worker = threading.Thread(target=project.open_pipeline().construct, args=(project.options,))
    worker.start()
    wait.until(project.active_run)
    project.overrides = ("stages.fan.suffix=x",)
    app = toy_app(tmp_path, project=project)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "already running with other settings than yours" in toasts(app))
        await until(pilot, lambda: app.session.state.items)
    worker.join()


async def test_readonly_changes_nothing(tmp_path):
    project = toy_project(tmp_path)
    app = toy_app(tmp_path, project=project, launch=LaunchOptions(readonly=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("enter", "escape", "c", "z", "X")
        await pilot.pause(0.3)
    assert not (tmp_path / "cache" / "pipeline_state" / "runs").exists()


async def test_the_palette_finds_what_keys_do(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        app.workspace.monitor.matrix.select(("fan", "ar1"))
        await pilot.press("ctrl+p")
        await pilot.press(*"clear")
        await until(pilot, lambda: "Clear cached results" in shown(app))
        await pilot.pause(0.5)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, ClearScreen))


async def test_a_key_that_means_nothing_now_says_why(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        app.workspace.open_monitor()
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        for key, reason in (
            ("space", "no run is active"),
            ("r", "nothing to run again: no item failed or was interrupted"),
        ):
            app.clear_notifications()
            await pilot.press(key)
            await until(pilot, lambda reason=reason: reason in toasts(app))
        app.clear_notifications()
        await pilot.press("j")
        assert "no run is active" not in toasts(app)


async def test_the_palette_names_no_key_of_another_pane(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        app.workspace.open_monitor()
        monitor = app.workspace.monitor
        await until(pilot, lambda: app.screen is monitor)
        monitor.matrix.select(("fan", "ar1"))
        await until(pilot, lambda: not monitor.feed.display)
        for pane, own, of_another in (
            (2, "Fold all stages", "Go to the next error."),
            (4, "Go to the next error.", "Fold all stages"),
        ):
            await pilot.press(str(pane))
            await until(pilot, lambda pane=pane: monitor.focused is monitor.panes[pane - 1])
            told = "\n".join(command.help for command in app.get_system_commands(monitor))
            assert own in told
            assert of_another not in told
            assert "Clear cached results" in told


class EvilScreen(Screen[None]):
    TEXT = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e[bold]x"

    def compose(self) -> ComposeResult:
        yield Static(self.TEXT, markup=False)
        yield Label(Text(self.TEXT))


async def test_no_text_of_others_commands_the_terminal(tmp_path):
    """Names, messages and errors with escape sequences are drawn without them, and markup as it is written."""
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "7 items" in shown(app))
        await app.push_screen(EvilScreen())
        await until(pilot, lambda: shown(app).count("]0;owned[31m2J[bold]x") == 2)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown(app))
