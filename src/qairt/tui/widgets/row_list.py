"""A list of lines with a cursor that keys move."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual.content import Content
from textual.strip import Strip
from textual.widgets import OptionList

from qairt.tui.keymap import bindings

_CURSOR = Style(reverse=True)


class RowList(OptionList, inherit_bindings=False):
    """Lines supplied by the caller. The line under the cursor is reversed, so that it needs no colour."""

    BINDINGS = bindings("list")
    DEFAULT_CSS = """
    RowList {
        height: 1fr; border: none; padding: 0; background: $background;
        scrollbar-size-vertical: 1; overflow-x: hidden; text-wrap: nowrap;
    }
    RowList:focus { border: none; background-tint: $background 0%; }
    RowList > .option-list--option { padding: 0; }
    RowList > .option-list--option-highlighted, RowList:focus > .option-list--option-highlighted {
        color: $foreground; background: $background; text-style: none;
    }
    RowList > .option-list--option-hover { background: $background; }
    """

    def show(self, lines: Sequence[Content]) -> None:
        """Show these lines; the cursor stays at its index."""
        place = self.highlighted or 0
        self.clear_options()
        self.add_options(list(lines))
        if lines:
            self.highlighted = min(place, len(lines) - 1)

    def render_line(self, y: int) -> Strip:
        """Reverse the cursor's lines, since Textual ignores `text-style: reverse` for options."""
        strip = super().render_line(y)
        if self.highlighted is not None and any(
            segment.style is not None and segment.style.meta.get("option") == self.highlighted for segment in strip
        ):
            return strip.apply_style(_CURSOR)
        return strip

    def action_scroll_top(self) -> None:
        self.action_first()

    def action_scroll_bottom(self) -> None:
        self.action_last()
