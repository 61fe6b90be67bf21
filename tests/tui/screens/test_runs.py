"""The list of runs: what it shows at each width, and every key of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import recorded_runs as recorded
from textual.app import App
from textual.pilot import Pilot
from textual.theme import Theme
from textual.widgets import Input

from qairt.engine.record.folder import RunFolder
from qairt.engine.record.summary import RunSummary, read_summary
from qairt.tui.lines.runs import as_markdown, as_text, cut, detail, table, when
from qairt.tui.screens.compare import CompareScreen
from qairt.tui.screens.delete_run import DeleteRunScreen
from qairt.tui.screens.messages import OpenRunRequested
from qairt.tui.screens.runs import RunsScreen, RunTable
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS

NOW = time.time()
LLAMA = "/recipes/llama3-8b-w4a16-[bold]long\x1b[31m.yaml"


class Host(App[None]):
    def __init__(self, state_folder: Path, look: Look) -> None:
        super().__init__()
        self.opened: list[str] = []
        self._screen = RunsScreen(state_folder, look)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self._screen)

    def on_open_run_requested(self, message: OpenRunRequested) -> None:
        self.opened.append(message.run_id)

    @property
    def messages(self) -> list[str]:
        return [str(note.message) for note in self._notifications]


def picture(app: App[Any]) -> list[str]:
    """What is on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


@pytest.fixture(autouse=True)
def quiet_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A cache directory with four runs, the last killed."""
    folder = tmp_path / "tiny" / "pipeline_state"
    recorded.record(folder, "0001", recorded.good(at=NOW - 40 * 86400))
    recorded.record(folder, "0002", recorded.failing(at=NOW - 3 * 86400))
    reused = ("convert ar1-split1",)
    recorded.record(folder, "0003", recorded.good(at=NOW - 86400 * 1.5, cached=reused, recipe=LLAMA), recipe="a: 1\n")
    recorded.record(folder, "0004", recorded.half(at=NOW))
    return folder


@pytest.fixture
def open_screen(place: Path):
    def opened(size: tuple[int, int] = (80, 24), look: Look | None = None, folder: Path | None = None):
        app = Host(folder or place, look or Look())
        return app, app.run_test(size=size)

    return opened


async def ready(pilot: Pilot[None]) -> None:
    """Wait until the runs are read."""
    for _ in range(200):
        await pilot.pause(0.01)
        if isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen._runs is not None:
            break
    await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


def ids(app: App[Any]) -> list[str]:
    return [str(key.value) for key in app.screen.query_one(RunTable).rows]


async def test_80_columns(open_screen, place):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        lines = picture(app)
        assert lines[0].startswith(f" runs · 4 · {place.parent}"[:40])
        assert lines[1].split() == ["ID", "STATE", "RECIPE", "STARTED", "TIME", "CACHED", "PEAK"]
        assert [" ".join(line.split()[:3]) for line in lines[2:6]] == [
            "0004 ? interrupted", "0003 ✓ done", "0002 × failed", "0001 ✓ done",
        ]  # fmt: skip
        assert lines[3].split()[3:] == ["llama3-8b-w4a16-[…", "1", "day", "ago", "30s", "25%", "3.00", "GB"]
        assert all(len(line) <= 80 for line in lines)
        assert lines[-1].split() == [
            "⏎",
            "Open",
            "space",
            "Mark",
            "/",
            "Filter",
            "y",
            "Copy",
            "D",
            "Delete",
            "esc",
            "Back",
        ]


async def test_wider_terminals_show_more(open_screen):
    app, running = open_screen((120, 36))
    async with running as pilot:
        await ready(pilot)
        assert picture(app)[1].split()[-3:] == ["PEAK", "ON", "DISK"]
        assert "llama3-8b-w4a16-[bold]long [31m" in picture(app)[3]


async def test_states_have_their_colours(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        cells = [app.screen.query_one(RunTable).get_row(run_id)[1] for run_id in ids(app)]
        colours = [str(cell.style.color.triplet.hex) for cell in cells]
        assert colours == [VARIABLE_DEFAULTS[f"state-{state}"] for state in ("interrupted", "done", "failed", "done")]


async def test_another_theme(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        app.register_theme(Theme("night", primary="#000001", variables=VARIABLE_DEFAULTS | {"state-done": "#123456"}))
        app.theme = "night"
        await pilot.pause(0.1)
        cell = app.screen.query_one(RunTable).get_row("0003")[1]
        assert str(cell.style.color.triplet.hex) == "#123456"


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (250, 70)])
async def test_any_size(open_screen, size):
    app, running = open_screen(size)
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "j", "space")
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.2)
        assert picture(app)[1].split()[-1] == "PEAK"
        assert picture(app)[3].startswith("●0003")


async def test_ascii(open_screen):
    app, running = open_screen(look=Look(ascii=True))
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "space")
        lines = picture(app)[:-1]  # the footer is the app's
        assert "".join(lines).isascii()
        assert lines[2].startswith("*0004  ? interrupted")
        assert lines[4].split()[1] == "X"
        await press(pilot, "D")
        assert "".join(picture(app)[:-1]).isascii()


async def test_nothing_was_run(open_screen, tmp_path):
    app, running = open_screen(folder=tmp_path / "empty")
    async with running as pilot:
        await ready(pilot)
        assert "no runs yet" in picture(app)[0]
        await press(pilot, "enter", "space", "equals_sign", "D", "j")
        assert isinstance(app.screen, RunsScreen)
        assert (app.opened, app.messages) == ([], [])


async def test_open(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "j", "j", "enter")
        await press(pilot, "g", "enter")
        await press(pilot, "G", "enter")
        assert app.opened == ["0002", "0004", "0001"]


async def test_the_selected_run_is_told_in_full(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "j", "j")
        assert picture(app)[-2].startswith(
            " 0002: 2 of 4 items built or reused; failed: convert ar1-split2: it was killed"
        )


async def test_marking_and_comparing(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "space")
        await press(pilot, "equals_sign")
        assert isinstance(app.screen, RunsScreen)  # one is not two
        await press(pilot, "j", "space", "j", "space")
        assert [line[:5] for line in picture(app)[2:6]] == [" 0004", "●0003", "●0002", " 0001"]
        assert "2 of 2 marked" in picture(app)[0]
        assert "= Compare" in picture(app)[-1]
        await press(pilot, "equals_sign")
        assert isinstance(app.screen, CompareScreen)
        assert picture(app)[0].startswith(" compare 0002 and 0003")
        await press(pilot, "escape")
        assert isinstance(app.screen, RunsScreen)
        await press(pilot, "space")
        assert "1 of 2 marked" in picture(app)[0]


async def test_filtering(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "slash", *"LLAMA")
        assert ids(app) == ["0003"]
        assert "1 of 4 · filter: LLAMA" in picture(app)[0]
        await press(pilot, "enter", "enter")
        assert app.opened == ["0003"]
        assert not app.screen.query_one(Input).display
        await press(pilot, "escape")
        assert ids(app) == ["0004", "0003", "0002", "0001"]
        await press(pilot, "slash", "q", "escape")
        assert (ids(app)[0], app.opened) == ("0004", ["0003"])
        await press(pilot, "escape")
        assert not isinstance(app.screen, RunsScreen)


async def test_filtering_everything_out(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "slash", *"[x]", "enter", "enter", "space", "y")
        assert (ids(app), app.opened) == ([], [])
        assert any("No run matches '[x]'; esc clears the filter." in line for line in picture(app))


async def test_sorting_by_any_column(open_screen):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        assert ids(app) == ["0004", "0003", "0002", "0001"], "the newest first"
        await press(pilot, "O")
        assert ids(app) == ["0001", "0002", "0003", "0004"]
        await press(pilot, "o")
        assert "TIME▼" in "".join(picture(app))
        seconds = {run.id: run.seconds for run in app.screen._runs}
        assert ids(app) == sorted(ids(app), key=lambda each: -seconds[each])
        for _ in range(20):
            await press(pilot, "o")
            if "RECIPE▲" in "".join(picture(app)):
                break
        recipes = {run.id: run.recipe for run in app.screen._runs}
        assert [recipes[each] for each in ids(app)] == sorted(recipes.values())


async def test_copy(open_screen, tmp_path):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "y")
        assert app.clipboard.splitlines()[1].split()[:3] == ["0004", "?", "interrupted"]
        assert len(app.clipboard.splitlines()) == 5
        assert app.messages[0].startswith("copied")


async def test_export(open_screen, place):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "e")
        assert app.messages == [f"wrote {place / 'runs.md'} and runs.json"]
    markdown = (place / "runs.md").read_text().splitlines()
    assert len(markdown) == 6
    assert markdown[4].endswith("| convert ar1-split2: it was killed: out of memory |")
    assert [run["id"] for run in json.loads((place / "runs.json").read_text())] == ["0004", "0003", "0002", "0001"]


async def test_export_into_a_folder_that_cannot_be_written(open_screen, place, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qairt.tui.screens.runs.write_atomic", full)
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "e")
        assert app.messages == [f"{place}: No space left on device"]


async def test_delete(open_screen, place):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "j", "D")
        assert isinstance(app.screen, DeleteRunScreen)
        assert "Run 0003 (llama3" in " ".join(picture(app))
        await press(pilot, "n")
        assert (place / "runs" / "0003").exists()
        await press(pilot, "D", "escape")
        assert (place / "runs" / "0003").exists()
        await press(pilot, "D", "y")
        for _ in range(100):
            await pilot.pause(0.01)
            if len(ids(app)) == 3:
                break
        assert ids(app) == ["0004", "0002", "0001"]
        assert app.messages == ["deleted run 0003"]
    assert not (place / "runs" / "0003").exists()


async def test_a_live_run_is_not_deleted(open_screen, place):
    live = RunFolder(place / "runs" / "0004")
    app, running = open_screen()
    with live.held("", (), detached=False):
        (live.path / "summary.json").unlink(missing_ok=True)
        async with running as pilot:
            await ready(pilot)
            assert "0004  ▶ running" in picture(app)[2]
            assert "Delete" not in picture(app)[-1]
            await press(pilot, "D")
            assert isinstance(app.screen, RunsScreen)
    assert live.events.exists()


async def test_a_run_that_came_alive_after_it_was_listed_is_not_deleted(open_screen, place):
    app, running = open_screen()
    async with running as pilot:
        await ready(pilot)
        with RunFolder(place / "runs" / "0004").held("", (), detached=False):
            await press(pilot, "D", "y")
            assert app.messages == ["run 0004 is still in progress; cancel it first"]
    assert (place / "runs" / "0004" / "events.jsonl").exists()


async def test_a_live_run_is_read_again(open_screen, place, monkeypatch):
    monkeypatch.setattr("qairt.tui.screens.runs._RELOAD_SECONDS", 0.3)
    app, running = open_screen()
    live = RunFolder(place / "runs" / "0004")
    lock = live.held("", (), detached=False)
    lock.__enter__()
    async with running as pilot:
        await ready(pilot)
        await press(pilot, "j")
        lock.__exit__(None, None, None)
        for _ in range(100):
            await pilot.pause(0.02)
            if "interrupted" in picture(app)[2]:
                break
        assert "0004  ? interrupted" in picture(app)[2]
        assert picture(app)[-2].startswith(" 0003")  # the cursor stays


# Lines


def summaries(place: Path) -> list[RunSummary]:
    return [read_summary(RunFolder(path)) for path in sorted((place / "runs").iterdir())]


def test_measures_have_columns_when_there_are_any(place):
    runs = summaries(place)
    assert table(runs, NOW, Look(), width=200).titles[-1].strip() == "ON DISK"
    runs[0] = runs[0].model_copy(update={"metrics": {"ppl": 6.314, "tokens_per_second": 17.84}})
    shown = table(runs, NOW, Look(), width=200)
    assert [title.strip() for title in shown.titles[-2:]] == ["PPL", "TOK/S"]
    assert [cell.strip() for cell in shown.rows[0][-2:]] == ["6.31", "17.8"]
    assert [cell.strip() for cell in shown.rows[1][-2:]] == ["-", "-"]


@pytest.mark.parametrize("width", [1, 12, 20, 40, 60, 78, 100, 118, 200])
def test_the_list_fits(place, width):
    shown = table(summaries(place), NOW, Look(), width=width, marked=["0001"])
    assert len(shown.titles) == 2 or sum(shown.widths) <= width
    assert all(len(cell) == room for row in shown.rows for cell, room in zip(row, shown.widths, strict=True))


def test_text_and_markdown(place):
    runs = summaries(place)
    odd = runs[0].model_copy(update={"recipe": "/a|b\n.yaml", "failed": ("x\ty", "z"), "failure": ""})
    assert as_text(runs, NOW, Look()).count("\n") == 5
    assert "| a\\|b  |" in as_markdown([odd], NOW)
    assert as_markdown([odd], NOW).endswith("| x y and 1 more |\n")


def test_a_run_of_which_nothing_is_known():
    run = RunSummary(id="0001", state="unknown", host="box7", pid=3)
    assert table([run], NOW, Look(), width=80).rows[0][1].strip() == "? unknown"
    assert detail(run, NOW) == "0001 on box7, process 3: no items recorded"


def test_when():
    noon = time.mktime((2026, 3, 10, 12, 0, 0, 0, 0, -1))
    assert when(None, noon) == "-"
    assert when(noon - 3600, noon) == "today 11:00"
    assert when(noon - 13 * 3600, noon) == "13 hours ago"
    assert when(noon - 3 * 86400, noon) == "3 days ago"
    assert when(noon - 40 * 86400, noon) == "2026-01-29"
    assert when(noon + 2 * 86400, noon) == "2026-03-12"  # a clock that was set back


def test_cut():
    assert cut("abcdef", 6, Look()) == "abcdef"
    assert cut("abcdefg", 6, Look()) == "abcde…"
    assert cut("abcdefg", 6, Look(ascii=True)) == "abc..."
    assert cut("abc", 0, Look()) == ""
