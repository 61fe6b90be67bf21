"""ASCII scroll bars."""

from __future__ import annotations

from textual.scrollbar import ScrollBar, ScrollBarRender

from qairt.tui.terminal.glyphs import Look


class PlainScrollBarRender(ScrollBarRender):
    """A thumb of whole cells; Textual's ends with eighths of a cell, which ASCII lacks."""

    VERTICAL_BARS = [" "]  # noqa: RUF012 - Textual's own declaration
    HORIZONTAL_BARS = [" "]  # noqa: RUF012


def use_scrollbars(look: Look) -> None:
    """Draw all scroll bars as this terminal can show them."""
    ScrollBar.renderer = PlainScrollBarRender if look.ascii else ScrollBarRender
