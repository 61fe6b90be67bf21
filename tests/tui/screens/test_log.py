"""The log over the whole screen: its header, the search line, the pager, going back."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Footer, Input, Static

from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.tui.keymap import bindings
from qairt.tui.screens.log import LogScreen
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS


class Host(App[None]):
    def __init__(self, path: Path, look: Look | None = None, *, running: bool = False) -> None:
        super().__init__()
        self.animation_level = "none"
        self.log_screen = LogScreen(path, "convert ar1-split2", look or Look(), running=running, seconds=0.05)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self.log_screen)

    @property
    def said(self) -> list[str]:
        return [toast.message for toast in self._notifications]


class Leaving(Host):
    """On a terminal that can be left for a while."""

    left = 0

    @contextlib.contextmanager
    def suspend(self) -> Iterator[None]:
        self.left += 1
        yield


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PAGER", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "convert.ar1-split2.log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    return path


def head(app: Host) -> str:
    return str(app.log_screen.query_one("#head", Static).render())


def a_pager(folder: Path, name: str, code: int = 0) -> tuple[Path, Path]:
    """A program that writes down what it was called with, and where it does."""
    program, calls = folder / name, folder / "calls"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit {code}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, calls


async def grown(pilot: Pilot[None]) -> None:
    await pilot.pause(0.12)
    await pilot.pause()


async def test_the_header_says_what_is_shown(path: Path) -> None:
    app = Host(path, running=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert head(app) == " convert ar1-split2 · running · 790 B · 100 lines · following"
        await pilot.press("k")
        await pilot.pause()
        assert head(app) == " convert ar1-split2 · running · 790 B · line 99 of 100"


async def test_it_follows_the_file_and_the_item(path: Path) -> None:
    app = Host(path, running=True)
    async with app.run_test(size=(80, 24)) as pilot:
        with path.open("a") as log:
            log.write("the last line\n")
        await grown(pilot)
        assert "101 lines" in head(app)
        assert app.log_screen.view.render_line(app.log_screen.view.size.height - 1).text.rstrip() == "the last line"
        item = ItemState(stage="convert", label="ar1-split2")
        item.status = "failed"
        app.log_screen.tick(RunState(items={("convert", "ar1-split2"): item}), 0.0)
        await pilot.pause()
        assert " · failed · " in head(app)


async def test_search_from_the_keyboard(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 24)) as pilot:
        field = app.log_screen.query_one(Input)
        await pilot.press("slash")
        assert field.has_focus
        assert field.display
        await pilot.press(*"line 5", "enter")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.log_screen.view.cursor == 5
        assert not field.display
        assert app.log_screen.view.has_focus
        await pilot.press("n")
        await app.workers.wait_for_complete()
        assert app.log_screen.view.cursor == 50


async def test_escape_leaves_one_thing_after_the_other(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = app.log_screen
        screen.view.search("line")
        await pilot.press("v", "slash", "escape")
        assert screen.view.has_focus
        assert "selected" in screen.view.position
        await pilot.press("escape")
        assert "selected" not in screen.view.position
        assert screen.view.is_searching
        await pilot.press("escape")
        assert not screen.view.is_searching
        assert app.screen is screen
        await pilot.press("escape")
        assert app.screen is not screen


async def test_the_pager_gets_the_file_and_follows_while_it_grows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, calls = a_pager(path.parent, "less")
    monkeypatch.setenv("PAGER", f"{program} -R")
    for running in (False, True):
        app = Leaving(path, running=running)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("o")
            await pilot.pause()
            assert (app.left, app.said) == (1, [])
    assert calls.read_text().splitlines() == [f"-R {path}", f"-R +F {path}"]


async def test_another_pager_is_not_given_the_options_of_less(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, calls = a_pager(path.parent, "most", code=3)
    monkeypatch.setenv("PAGER", str(program))
    app = Leaving(path, running=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("o")
        await pilot.pause()
        assert calls.read_text() == f"{path}\n"
        assert app.said == [f"{program} ended with exit code 3"]


@pytest.mark.parametrize(
    ("pager", "sentence"),
    [
        ("no-such-pager -x", "no-such-pager is not installed; set PAGER to a pager such as less"),
        ("'unclosed", "'unclosed is not installed; set PAGER to a pager such as less"),
    ],
)
async def test_a_pager_that_is_not_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, pager: str, sentence: str
) -> None:
    monkeypatch.setenv("PAGER", pager)
    app = Leaving(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("o")
        assert (app.left, app.said) == (0, [sentence])


async def test_no_pager_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    app = Leaving(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("o")
        assert app.said == ["no pager found; set PAGER to a pager such as less"]


async def test_a_terminal_that_cannot_be_left_says_where_the_file_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, calls = a_pager(path.parent, "less")
    monkeypatch.setenv("PAGER", str(program))
    app = Host(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("o")
        assert app.said == [f"the pager cannot open on this terminal; the file is {path}"]
        assert not calls.exists()


async def test_a_file_that_is_not_there_yet(path: Path) -> None:
    path.unlink()
    app = Host(path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert head(app) == " convert ar1-split2 · convert.ar1-split2.log does not exist"
        path.write_text("now\n")
        await grown(pilot)
        assert app.log_screen.view.render_line(0).text.rstrip() == "now"


async def test_every_key_in_the_footer_fits_80_columns(path: Path) -> None:
    class WithHelp(Host):
        BINDINGS = bindings("global")

    app = WithHelp(path)
    async with app.run_test(size=(80, 24)) as pilot:
        app.log_screen.view.search("line 7")
        await app.workers.wait_for_complete()
        await pilot.pause()
        keys = list(app.log_screen.query_one(Footer).children)
        assert len(keys) <= 8
        assert max(key.region.right for key in keys) <= 80


async def test_plain_ascii(path: Path) -> None:
    path.write_text("→ x\n")
    app = Host(path)
    async with app.run_test(size=(80, 24)) as pilot:
        app.log_screen.look = Look(ascii=True)
        await pilot.press("slash")
        await pilot.pause()
        assert head(app).isascii()
        assert app.log_screen.query_one(Input).placeholder.isascii()
        assert app.log_screen.view.render_line(0).text.rstrip() == "-> x"


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (80, 24), (250, 70)])
async def test_every_key_at_any_size(path: Path, size: tuple[int, int]) -> None:
    app = Host(path)
    async with app.run_test(size=size) as pilot:
        keys = ["f", "slash", "l", "enter", "n", "N", "e", "w", "T", "y", "v", "j", "k", "h", "l", "g", "G", "w"]
        await pilot.press(*keys)
        await pilot.resize_terminal(20, 5)
        await pilot.resize_terminal(*size)
        await pilot.pause()
        assert app.screen is app.log_screen
        assert os.path.exists(path)
