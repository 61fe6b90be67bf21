"""Copying."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_project import SIZE, toy_app, until

from qairt.tui.app import LaunchOptions

pytestmark = pytest.mark.usefixtures("own_folders")


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
