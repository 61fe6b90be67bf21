"""Scroll bars of nothing but ASCII."""

from __future__ import annotations

from textual.scrollbar import ScrollBar, ScrollBarRender

from qairt.tui.terminal.glyphs import Look


class PlainScrollBarRender(ScrollBarRender):
    """A thumb of whole cells; Textual's has ends of an eighth of a cell, which ASCII does not."""

    VERTICAL_BARS = [" "]  # noqa: RUF012 - Textual's own declaration
    HORIZONTAL_BARS = [" "]  # noqa: RUF012


def use_scrollbars(look: Look) -> None:
    """Draw every scroll bar as this terminal can show it."""
    ScrollBar.renderer = PlainScrollBarRender if look.ascii else ScrollBarRender
