"""`--readonly`: no key of any screen changes a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_project import shown, toy_app, toy_project, until, write_toy_recipe

from qairt.tui.app import LaunchOptions
from qairt.tui.screens.runs import RunsScreen
from qairt.tui.screens.why import WhyScreen

SIZE = (120, 36)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("EDITOR", "touch edited")
    monkeypatch.chdir(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_no_key_of_any_screen_changes_a_file(tmp_path):
    project = toy_project(tmp_path)
    project.open_pipeline().construct(project.options)
    write_toy_recipe(tmp_path, fan="suffix: '!'")
    before = files(tmp_path)
    app = toy_app(tmp_path, project=project, launch=LaunchOptions(readonly=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "stages.fan.suffix" in shown(app))
        await pilot.press("enter", "e", "escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        app.workspace.monitor.matrix.select(("fan", "ar1"))
        await pilot.press("c", "z", "r", "X", "x", "space", "w")
        await until(pilot, lambda: isinstance(app.screen, WhyScreen))
        await pilot.press("u", "y", "enter", "e")
        assert isinstance(app.screen, WhyScreen)
        await pilot.press("escape", "R")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen) and "0001" in shown(app))
        await pilot.press("D", "y", "e")
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("escape", "C")
        await until(pilot, lambda: "entries" in shown(app))
        await pilot.press("c", "y", "P", "y", "z", "escape", "t", "down", "enter")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await pilot.pause(0.2)
    clipboard = str(tmp_path / "XDG_STATE_HOME" / "qairt" / "clipboard.txt")
    after = files(tmp_path)
    after.pop(clipboard, None)  # copying is looking
    summary = str(project.state_folder / "runs" / "0001" / "summary.json")
    before.pop(summary, None)
    after.pop(summary, None)
    assert {name for name in after if after[name] != before.get(name)} == set()
    assert set(before) <= set(after)
