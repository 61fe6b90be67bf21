"""The picker of recipes and runs."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest
import recorded_runs as recorded
from toy_project import until

from qairt.engine.record.known_caches import known_state_folders, remember_cache
from qairt.tui.choices import find_choices
from qairt.tui.lines.picker import ORDERS
from qairt.tui.look import Appearance
from qairt.tui.picker import PickerApp
from qairt.tui.terminal.glyphs import Look

pytestmark = pytest.mark.usefixtures("own_folders")


def a_run(cache: Path, run_id: str, events: list[object], ago: float, recipe: Path) -> Path:
    """A recorded run of a recipe, begun some seconds ago."""
    folder = recorded.record(cache / "pipeline_state", run_id, events)  # type: ignore[arg-type]
    host = json.loads((folder.path / "host.json").read_text()) | {"started": time.time() - ago, "recipe": str(recipe)}
    (folder.path / "host.json").write_text(json.dumps(host))
    lines = folder.events.read_text().splitlines()
    opening = json.loads(lines[0]) | {"recipe": str(recipe)}
    folder.events.write_text("\n".join([json.dumps(opening), *lines[1:]]) + "\n")
    remember_cache(cache)
    return folder.path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a recipe that has run, one that has not, and a file that is none; another folder with a run."""
    now = time.time()
    for name in ("llama.yaml", "qwen.yaml"):
        (tmp_path / name).write_text("model_id_or_path: nothing\n")
    (tmp_path / "notes.yaml").write_text("a: 1\n")
    a_run(tmp_path / "qairt-cache/llama", "0001", recorded.good(at=now - 7200), 7200, tmp_path / "llama.yaml")
    a_run(tmp_path / "other/qairt-cache/phi", "0004", recorded.failing(at=now - 60), 60, tmp_path / "gone.yaml")
    return tmp_path


def test_choices(place: Path) -> None:
    found = find_choices(place)
    own = [choice for choice in found if "smollm2" not in choice.name]
    assert [(choice.section, choice.name, choice.summary and choice.summary.state) for choice in own] == [
        ("recipe", "llama", "done"),
        ("recipe", "qwen", None),
        ("finished", "gone", "failed"),
        ("finished", "llama", "done"),
    ]
    assert own[2].recipe == own[2].run.path / "recipe.yaml"  # type: ignore[union-attr]
    assert own[2].folder == place / "other"


def test_caches_are_remembered_once_and_forgotten_when_gone(tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        (tmp_path / name / "pipeline_state").mkdir(parents=True, exist_ok=True)
        remember_cache(tmp_path / name)
    assert [folder.parent.name for folder in known_state_folders()] == ["a", "b"]
    (tmp_path / "b" / "pipeline_state").rmdir()
    assert [folder.parent.name for folder in known_state_folders()] == ["a"]


async def test_keys(place: Path) -> None:
    app = PickerApp(Appearance(Look(), "qairt-dark", ansi_color=None, refresh=4.0), partial(find_choices, place))
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app._shown != {})
        titles = [option.prompt for option in app._list.options if option.id is None]
        assert titles == ["Recipes", "", "Runs"]
        lines = [str(option.prompt) for option in app._list.options if option.id is not None]
        assert lines[0].split()[:8] == ["✓", "done", "llama", "0001", "2", "hours", "ago", "40s"]
        await pilot.press("slash", *"no such")
        assert str(app._head.render()) == " qairt  nothing matches 'no such'"
        await pilot.press("escape", "slash", *"fail", "enter")
        assert [choice.name for choice in app._shown.values()] == ["gone"]
        await pilot.press("enter")
    assert app.return_value is not None
    assert (app.return_value.name, app.return_value.section) == ("gone", "finished")


async def test_leaving_chooses_nothing(place: Path) -> None:
    app = PickerApp(Appearance(Look(ascii=True), "mono", ansi_color=True, refresh=4.0), partial(find_choices, place))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app._shown != {})
        await pilot.press("q")
    assert app.return_value is None


async def test_o_sorts_by_each_column(place: Path) -> None:
    app = PickerApp(Appearance(Look(), "qairt-dark", ansi_color=None, refresh=4.0), partial(find_choices, place))
    async with app.run_test(size=(120, 30)) as pilot:
        await until(pilot, lambda: app._shown != {})

        def finished() -> list[str]:
            return [choice.name for choice in app._shown.values() if choice.section == "finished"]

        found = {"": finished()}
        for title in ORDERS[1:]:
            await pilot.press("o")
            assert f"▼{title}" in str(app._columns.render())
            found[title] = finished()
        await pilot.press("o")
        assert "▼" not in str(app._columns.render())
        assert finished() == found.pop("") == ["gone", "llama"]
        assert found == {
            "STATE": ["llama", "gone"],
            "RECIPE": ["gone", "llama"],
            "STARTED": ["gone", "llama"],
            "TIME": ["llama", "gone"],
            "FOLDER": ["llama", "gone"],
        }
