"""Choosing a theme: live preview, enter saves, escape restores the previous one."""

from __future__ import annotations

from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from qairt.tui.screens.theme import ThemeScreen
from qairt.tui.terminal.glyphs import MARKS, Look, in_words
from qairt.tui.terminal.scrollbar import use_scrollbars
from qairt.tui.themes import VARIABLE_DEFAULTS, load_themes, register_all


class Host(App[None]):
    """Wears the themes for real."""

    def __init__(self, look: Look | None = None, fact: str = "") -> None:
        super().__init__()
        self.ended: list[str | None] = []
        self._look = look or Look()
        self._fact = fact

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield Static("behind")

    def on_mount(self) -> None:
        register_all(self)
        self.theme = "qairt-light"
        names = [theme.name for theme in load_themes()[0]]
        self.push_screen(ThemeScreen(names, self.theme, self._look, self.wear, self._fact), callback=self.ended.append)

    def wear(self, name: str) -> None:
        self.theme = name


def seen(app: App[Any]) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


@pytest.fixture(autouse=True)
def config(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


async def test_the_current_theme_is_selected_and_all_signs_are_shown() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.theme == "qairt-light"
        text = seen(app)
        assert all(theme.name in text for theme in load_themes()[0])
        assert all(in_words(status) in text and mark.glyph in text for status, mark in MARKS.items())
        assert "behind" in text


async def test_moving_shows_a_theme_and_enter_keeps_it() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down")
        await pilot.pause()
        assert app.theme == "colorblind"
        await pilot.press("G")
        await pilot.pause()
        assert app.theme == "mono"
        await pilot.press("g")
        await pilot.pause()
        assert app.theme == "qairt-dark"
        await pilot.press("j", "j", "j", "k")
        await pilot.pause()
        assert app.theme == "colorblind"
        await pilot.press("enter")
        await pilot.pause()
        assert app.ended == ["colorblind"]
        assert app.theme == "colorblind"


@pytest.mark.parametrize("key", ["escape", "q", "t"])
async def test_leaving_brings_the_theme_from_before_back(key: str) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "down")
        await pilot.pause()
        assert app.theme != "qairt-light"
        await pilot.press(key)
        await pilot.pause()
        assert app.theme == "qairt-light"
        assert app.ended == [None]


@pytest.mark.parametrize("size", [(20, 5), (60, 15), (250, 70)])
async def test_it_works_in_every_window(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert "qairt-light" in seen(app)
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.ended == ["colorblind"]


async def test_in_ascii_mode_every_character_is_ascii() -> None:
    use_scrollbars(Look(ascii=True))
    try:
        app = Host(Look(ascii=True), fact="NO_COLOR is set — other themes show no colour")
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert seen(app).isascii()
            assert "NO_COLOR is set - other themes" in seen(app)
    finally:
        use_scrollbars(Look())
