"""The app from key to effect, over toy stages run for real."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from toy_project import shown, toy_app, toy_project, until, write_toy_recipe

from qairt.engine.record.folder import live_runs, run_folders
from qairt.tui.actions.plain_terminal import PlainTerminalActions
from qairt.tui.app import LaunchOptions, QairtApp
from qairt.tui.screens.clear import ClearScreen
from qairt.tui.screens.help import HelpScreen
from qairt.tui.screens.leave import CancelRunScreen, LeaveScreen
from qairt.tui.screens.log import LogScreen
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.screens.runs import RunsScreen
from qairt.tui.screens.theme import ThemeScreen
from qairt.tui.screens.why import WhyScreen
from qairt.tui.session import HostSession, ReplaySession, ThreadSession

SIZE = (120, 36)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def toasts(app: QairtApp) -> str:
    """What toasts say, before they are wrapped."""
    return "\n".join(toast.message for toast in app._notifications)


async def test_it_opens_on_the_plan_and_enter_runs_it(tmp_path):
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await until(pilot, lambda: "7 new" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.status == "done")
        assert app.screen is app.workspace.monitor
        assert isinstance(app.session, ThreadSession)
        await until(pilot, lambda: "7/7 items" in shown(app))
        await pilot.press("q")
    assert app.return_code == 0
    (folder,) = run_folders(tmp_path / "cache" / "pipeline_state")
    assert folder.liveness() == "over"


async def test_run_starts_at_once(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done")
        assert app.screen is app.workspace.monitor


async def test_leaving_asks_while_a_run_is_going_and_never_ends_it(tmp_path):
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


async def test_a_failed_item_says_what_where_and_the_remedy(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=(200, 50)) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed" and not app.workspace.run.is_active)
        app.workspace.monitor.matrix.select(("fan", "ar2"))
        await until(pilot, lambda: "leave it out" in shown(app))
        text = shown(app)
        assert "this node is not supported" in text
        assert "1 failed: fan ar2" in text
        await pilot.press("q")
    assert app.return_code == 1


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


async def test_it_attaches_to_a_run_that_is_going(tmp_path):
    project = toy_project(tmp_path, sleep=4.0)
    pipeline = project.open_pipeline()
    worker = threading.Thread(target=pipeline.construct, args=(project.options,))
    worker.start()
    while project.live() is None:
        time.sleep(0.02)
    app = toy_app(tmp_path, project=project)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.session, HostSession))
        await until(pilot, lambda: app.session.state.status == "done")
        assert app.screen is app.workspace.monitor
    worker.join()


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


async def test_readonly_changes_nothing(tmp_path):
    project = toy_project(tmp_path)
    app = toy_app(tmp_path, project=project, launch=LaunchOptions(readonly=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("enter", "escape", "c", "z", "X")
        await pilot.pause(0.3)
    assert not (tmp_path / "cache" / "pipeline_state" / "runs").exists()


async def test_copying_an_item_and_its_command(tmp_path, monkeypatch):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        app.workspace.monitor.matrix.select(("fan", "ar1"))
        await pilot.press("y")
        clipboard = tmp_path / "XDG_STATE_HOME" / "qairt" / "clipboard.txt"
        await until(pilot, clipboard.exists)
        name, key, folder = clipboard.read_text().splitlines()
        assert name == "fan ar1"
        assert json.loads((Path(folder) / "cache_entry.json").read_text())["key"] == key
        await pilot.press("Y")
        await until(pilot, lambda: clipboard.read_text().startswith("qairt run"))
        assert clipboard.read_text().endswith("toy.yaml --until fan")


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (120, 36), (200, 50), (250, 70)])
async def test_any_size_works(tmp_path, size):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        for key in (
            "1",
            "2",
            "3",
            "4",
            "5",
            "plus",
            "underscore",
            "0",
            "tab",
            "shift+tab",
            "slash",
            "f",
            "enter",
            "escape",
        ):
            await pilot.press(key)
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "fan" in shown(app))


async def test_ascii_shows_nothing_else(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await pilot.press("a")
        await pilot.pause(0.3)
        assert [char for char in shown(app) if ord(char) > 126] == []
        await pilot.press("a")
        await pilot.pause(0.3)
        assert "╭" in shown(app)


async def test_no_live_run_is_left(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
    assert live_runs(tmp_path / "cache" / "pipeline_state") == []


async def test_why_a_run_could_not_start_is_said_and_nothing_is_lost(tmp_path):
    app = toy_app(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        (tmp_path / "cache").write_text("in the way")
        await pilot.press("enter")
        await until(pilot, lambda: "cannot be written" in toasts(app))
        assert not app.workspace.run.is_active
        (tmp_path / "cache").unlink()
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await pilot.press("enter")
        await until(pilot, lambda: app.session.state.status == "done")


async def test_a_fault_of_the_engine_leaves_the_screen_and_a_traceback(tmp_path, monkeypatch):
    from qairt.engine.run.run import Run

    def fault(self, plan):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(Run, "_run_all", fault)
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "ZeroDivisionError: of all things" in toasts(app))
        assert app.session.state.status == "interrupted"
        assert app.screen is app.workspace.monitor
    assert "of all things" in (tmp_path / "XDG_STATE_HOME" / "qairt" / "tui.log").read_text()


async def test_escape_clears_the_filter_and_brings_all_panes_back(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await pilot.press("slash", *"fan")
        await until(pilot, lambda: "upper" not in shown(app).partition("Stages")[2].partition("RAM")[0])
        await pilot.press("escape")
        await until(
            pilot, lambda: app.workspace.monitor.matrix.filter == "" and app.focused is app.workspace.monitor.matrix
        )
        await pilot.press("plus")
        await until(pilot, lambda: not app.workspace.monitor.recipe.display)
        await pilot.press("escape")
        await until(pilot, lambda: app.workspace.monitor.recipe.display)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
async def test_a_pane_by_its_number_can_be_seen_at_any_size(tmp_path, size):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        for number, pane in enumerate(app.workspace.monitor.panes, start=1):
            await pilot.press(str(number), "plus")
            await until(pilot, lambda pane=pane: pane.region.width > size[0] - 4 and pane.region.height > size[1] - 8)
            others = [other for other in app.workspace.monitor.panes if other is not pane]
            assert not any(other.display for other in others)
        await until(pilot, lambda: "artifact" in shown(app))  # the fifth is the detail
        await pilot.press("0")
        await until(pilot, lambda: app.workspace.monitor.matrix.display and app.workspace.monitor.log_view.display)


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


async def test_a_wider_window_shows_what_was_hidden(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await pilot.resize_terminal(200, 50)
        await until(pilot, lambda: "artifact" in shown(app))


async def test_settings_that_a_run_going_does_not_have_are_said(tmp_path):
    project = toy_project(tmp_path, sleep=4.0)
    worker = threading.Thread(target=project.open_pipeline().construct, args=(project.options,))
    worker.start()
    while project.live() is None:
        time.sleep(0.02)
    project.overrides = ("stages.fan.suffix=x",)
    app = toy_app(tmp_path, project=project)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "already running with other settings than yours" in toasts(app))
        await until(pilot, lambda: app.session.state.items)
    worker.join()
