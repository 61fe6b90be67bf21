"""Rows of a log as styled strips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from qairt.tui.widgets.log_page import LogRow, Page

TIME_COLUMNS = 9
ROLES = ("error", "warning", "match", "marked", "cursor", "note")


@dataclass(frozen=True)
class Highlight:
    """A range of a row with a style of its own."""

    style: Style
    start: int = 0
    end: int | None = None
    """None for the end of the page, beyond the text."""


@dataclass(frozen=True)
class LogPainter:
    """Paints the rows of one page.

    Args:
        base: style of ordinary text.
        style_of: style of a role, in addition to it.
    """

    page: Page
    base: Style
    style_of: Callable[[str], Style]
    console: Console

    def strip(self, row: LogRow, highlights: Sequence[Highlight], width: int) -> Strip:
        """One row, `width` cells wide."""
        style = self.base + self.style_of(row.level) if row.level else self.base
        if not (row.matches or highlights or row.more) and row.text.isprintable():  # as nearly all are
            return self._timed(Strip([Segment(row.text, style)]).apply_offsets(row.start, row.line), row, style, width)
        text = Text(row.text, end="", no_wrap=True)
        text.stylize(style)
        for start, end in row.matches:
            text.stylize(self.style_of("match"), start, end)
        for highlight in highlights:
            if highlight.end is None:
                text.pad_right(max(self.page.width - text.cell_len, 0))
            text.stylize(highlight.style, highlight.start, highlight.end)
        strip = Strip(text.render(self.console)).apply_offsets(row.start, row.line)
        if row.more:
            ellipsis = Segment(self.page.look.ellipsis, style + self.style_of("note"))
            strip = Strip([*strip.adjust_cell_length(max(self.page.width - 1, 0), style), ellipsis])
        return self._timed(strip, row, style, width)

    def _timed(self, strip: Strip, row: LogRow, style: Style, width: int) -> Strip:
        """With the row's time before it, where the page has times."""
        if self.page.first_time is not None:
            time = row.when.ljust(TIME_COLUMNS)[:TIME_COLUMNS]
            strip = Strip([Segment(time, self.base + self.style_of("note")), *strip])
        return strip.adjust_cell_length(width, style)

    def note(self, text: str, width: int) -> Strip:
        """A line that is not part of the log."""
        return Strip([Segment(text, self.base + self.style_of("note"))]).adjust_cell_length(width, self.base)
