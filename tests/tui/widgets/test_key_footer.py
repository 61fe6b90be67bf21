"""The footer shows whole keys only, and always the one for help."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets._footer import FooterKey

from qairt.tui.widgets.key_footer import KeyFooter


class Keys(App[None]):
    BINDINGS = [
        *(Binding(letter, f"do('{letter}')", f"Action {letter}") for letter in "abcd"),
        Binding("question_mark", "help", "Help"),
    ]

    def compose(self) -> ComposeResult:
        yield KeyFooter()


def shown_keys(app: App[None]) -> list[str]:
    keys = list(app.query(FooterKey))
    assert all(key.region.right <= app.size.width for key in keys)
    return [key.key_display for key in keys]


@pytest.mark.parametrize(("width", "expected"), [(80, "abcd?"), (56, "abcd?"), (55, "abc?"), (20, "a?"), (9, "?")])
async def test_the_last_keys_are_left_out(width, expected):
    app = Keys()
    async with app.run_test(size=(width, 5)) as pilot:
        await pilot.pause()
        assert "".join(shown_keys(app)) == expected


async def test_a_resize_brings_keys_back():
    app = Keys()
    async with app.run_test(size=(20, 5)) as pilot:
        await pilot.pause()
        assert shown_keys(app) == ["a", "?"]
        await pilot.resize_terminal(80, 5)
        await pilot.pause()
        assert shown_keys(app) == [*"abcd", "?"]
