"""Help shows the keys of the given scopes as the user has them, and every sign; it scrolls and can be filtered."""

from __future__ import annotations

from typing import Any

import pytest
from textual.app import App

from qairt.tui.keymap import KEYS
from qairt.tui.screens.help import HelpPage, HelpScreen, HelpScroll
from qairt.tui.terminal.glyphs import MARKS, Look, in_words
from qairt.tui.terminal.scrollbar import use_scrollbars
from qairt.tui.themes import VARIABLE_DEFAULTS


class Host(App[None]):
    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS


def seen(app: App[Any]) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def words(app: App[Any]) -> str:
    """What is seen, with wrapped lines joined."""
    return " ".join(seen(app).replace("│", " ").replace("|", " ").split())


async def test_every_key_and_sign_can_be_read() -> None:
    app = Host()
    async with app.run_test(size=(120, 100)) as pilot:
        await app.push_screen(HelpScreen(["monitor", "global"], Look()))
        await pilot.pause()
        text = words(app)
    for key in (*KEYS["monitor"], *KEYS["global"]):
        assert key.help in text
    for status, mark in MARKS.items():
        assert mark.glyph in text
        assert in_words(status) in text
        assert mark.meaning in text
    assert "Monitor" in text
    assert "Every screen" in text


async def test_remapped_keys_are_shown_not_the_defaults() -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.push_screen(HelpScreen(["confirm"], Look(), {"confirm.yes": "ctrl+y,f5"}))
        await pilot.pause()
        line = next(line for line in seen(app).splitlines() if "Yes." in line)
    assert "ctrl+y  f5" in line


@pytest.mark.parametrize("size", [(80, 24), (20, 5), (250, 70)])
async def test_it_fits_every_window_and_ends_at_its_last_line(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.push_screen(HelpScreen(["monitor", "matrix", "list", "global"], Look()))
        await pilot.pause()
        assert "Help" in seen(app)
        await pilot.press("G")
        await pilot.pause()
        assert words(app).split(" └")[0].endswith("as nothing needs it")
        await pilot.press("g")
        await pilot.pause()
        assert app.screen.query_one(HelpScroll).scroll_y == 0
        await pilot.press("j", "j", "k", "ctrl+d", "ctrl+u", "escape")
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)


async def test_a_filter_shows_only_what_contains_its_text() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(HelpScreen(["monitor", "global"], Look()))
        await pilot.press("slash", *"reused")
        await pilot.pause()
        text = seen(app)
        assert "cached: reused from the cache" in text
        assert "Pause" not in text
        assert "Every screen" not in text
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.focused, HelpScroll)
        await pilot.press("escape")
        await pilot.pause()
        assert "Open the item's log" in seen(app)
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)


async def test_a_filter_that_nothing_contains_says_so_and_takes_markup_as_text() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(HelpScreen(["monitor"], Look()))
        await pilot.press("slash", "left_square_bracket", "b", "right_square_bracket")
        await pilot.pause()
        assert "No match for “[b]”." in seen(app)


@pytest.mark.parametrize("key", ["question_mark", "q", "escape"])
async def test_it_closes(key: str) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(HelpScreen(["monitor"], Look()))
        await pilot.press(key)
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)


async def test_in_ascii_mode_every_character_is_ascii() -> None:
    use_scrollbars(Look(ascii=True))
    try:
        app = Host()
        async with app.run_test(size=(80, 24)) as pilot:
            await app.push_screen(HelpScreen(["monitor", "matrix", "global"], Look(ascii=True)))
            await pilot.press("slash", *"zzz")
            await pilot.pause()
            assert seen(app).isascii()
            await pilot.press("escape")
            await pilot.pause()
            while (scroll := app.screen.query_one(HelpScroll)).scroll_y < scroll.max_scroll_y:
                assert seen(app).isascii()
                await pilot.press("pagedown")
                await pilot.pause()
            assert seen(app).isascii()
    finally:
        use_scrollbars(Look())


async def test_signs_have_the_colour_of_their_state() -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.push_screen(HelpScreen([], Look()))
        await pilot.pause()
        style = app.screen.query_one(HelpPage).get_component_rich_style("help--failed", partial=True)
        assert style.color is not None
        assert style.color.name == VARIABLE_DEFAULTS["state-failed"]
