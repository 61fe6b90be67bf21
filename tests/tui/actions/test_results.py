"""The end of a run, and what is done with its results from the screen."""

from __future__ import annotations

import sys

import pytest
from toy_project import SIZE, shown, toasts, toy_app, until

from qairt.tui import command as command_module
from qairt.tui.app import LaunchOptions
from qairt.tui.screens.ask import AskScreen
from qairt.tui.screens.command import CommandScreen
from qairt.tui.screens.ending import EndingScreen

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def echo(monkeypatch):
    """Commands print their arguments and wait for an interrupt."""
    text = "import sys, time\nprint(*sys.argv[3:], flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: pass"
    monkeypatch.setattr(command_module, "python_command", lambda *words: [sys.executable, "-c", text, *words])


async def ended(app, pilot):
    await until(pilot, lambda: isinstance(app.screen, EndingScreen))
    await until(pilot, lambda: "Next" in app.screen.text and "reading" not in app.screen.text)


async def test_a_finished_run_shows_what_it_made(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), results=True)
    app.project.find_quality = lambda pipeline: (("Perplexity", "17.92", "+0.41 against float"),)
    async with app.run_test(size=SIZE) as pilot:
        await ended(app, pilot)
        text = app.screen.text
        assert "✓ done in" in text
        assert "7 items made, 0 reused from the cache" in text
        assert str(tmp_path / "cache") in "".join(text.split())
        assert "perplexity  17.92  +0.41 against float" in text
        assert "g    generate  answer a prompt with the quantized model" in text
        await pilot.press("enter")
        assert app.screen is app.workspace.monitor
        await pilot.press("E")
        await ended(app, pilot)


async def test_what_the_cache_saved(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), results=True, sleep=0.5)
    async with app.run_test(size=SIZE) as pilot:
        await ended(app, pilot)
    again = toy_app(tmp_path, launch=LaunchOptions(start=True), results=True, sleep=0.5)
    async with again.run_test(size=SIZE) as pilot:
        await ended(again, pilot)
        assert "0 items made, 7 reused from the cache" in again.screen.text
        assert "s of work: 7 items reused from the cache" in " ".join(again.screen.text.split())


async def test_commands_run_on_the_screen_and_can_be_cancelled(tmp_path, echo):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), results=True)
    async with app.run_test(size=SIZE) as pilot:
        await ended(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, CommandScreen))
        await until(pilot, lambda: f"verify {app.project.recipe}" in shown(app))
        assert "running" in app.screen.head
        await pilot.press("escape")
        assert isinstance(app.screen, EndingScreen)
        await pilot.press("r")
        assert "verify is still running: cancel it there, or wait" in toasts(app)
        assert isinstance(app.screen, CommandScreen)
        await pilot.press("x")
        await until(pilot, lambda: "cancelled after" in app.screen.head)
        await pilot.press("escape", "g")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("enter")
        assert isinstance(app.screen, AskScreen), "an empty prompt is none"
        await pilot.press(*"Hi there", "enter")
        await until(pilot, lambda: isinstance(app.screen, CommandScreen))
        await until(pilot, lambda: f"generate {app.project.recipe} Hi there" in shown(app))
        await pilot.press("x")
        await until(pilot, lambda: "cancelled after" in app.screen.head)
        await pilot.press("escape", "x")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press("escape")
        assert isinstance(app.screen, EndingScreen)


async def test_before_the_end_there_are_no_results(tmp_path):
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.project.planned.plan is not None)
        await pilot.press("escape")
        await until(pilot, lambda: app.workspace.is_monitor_on_top)
        await pilot.press("E")
        assert "the run has not ended: its results are shown then" in toasts(app)
