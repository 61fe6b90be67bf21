"""Progress of the whole run, in one line."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from qairt.engine.record.progress import Progress
from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.matrix_columns import fitted

_MIN_BAR = 8
_PARTS = {"cached": "▓", "done": "█", "running": "▒", "lost": "×", "cancelled": "■", "left": "░"}
"""A glyph for each part of the bar, in order, so that none is told by its colour alone."""


class OverallBar(Widget):
    """A bar, followed by text such as `38/61 items · 2 cached · about 21 min (15-35) left`.

    The bar is the whole plan by expected time: cached, made, in progress, failed or blocked, cancelled, not begun. In a
    narrow window it shrinks first, then disappears.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"overall-bar--{name}" for name in (*_PARTS, "text")}
    DEFAULT_CSS = """
    OverallBar { height: 1; width: 1fr; }
    OverallBar > .overall-bar--cached { color: $state-cached; }
    OverallBar > .overall-bar--done { color: $state-done; }
    OverallBar > .overall-bar--running { color: $state-running; }
    OverallBar > .overall-bar--lost { color: $state-failed; }
    OverallBar > .overall-bar--cancelled { color: $state-cancelled; }
    OverallBar > .overall-bar--left { color: $text-muted; }
    OverallBar > .overall-bar--text { color: $foreground; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._look = look or Look()
        self._progress = Progress()
        self._text = ""
        self._parts: tuple[tuple[str, str], ...] = ()

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._draw()

    @property
    def line(self) -> str:
        """What is shown, as text."""
        return "".join(text for text, _ in self._parts)

    def show(self, progress: Progress, text: str) -> None:
        """Show the progress and a text; repaints only when the line changed."""
        self._progress, self._text = progress, plain(text)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def render_line(self, y: int) -> Strip:
        segments = [
            Segment(text, self.get_component_rich_style(f"overall-bar--{name}")) for text, name in self._parts if text
        ]
        return Strip(segments).adjust_cell_length(self.size.width, self.get_component_rich_style("overall-bar--text"))

    def _draw(self) -> None:
        width = self.size.width
        text = self._look.text(self._text)
        bar = width - cell_len(text) - 3
        if bar < _MIN_BAR:
            parts: tuple[tuple[str, str], ...] = ((fitted(" " + text, width, self._look), "text"),)
        else:
            cells = [(self._look.text(_PARTS[name]) * count, name) for name, count in _cells(self._progress, bar)]
            parts = ((" ", "text"), *cells, (f" {text} ", "text"))
        if parts != self._parts:
            self._parts = parts
            self.refresh()


def _cells(progress: Progress, width: int) -> list[tuple[str, int]]:
    """How many columns each part of the bar has. It is full only when nothing is left."""
    shares = [(name, getattr(progress, name)) for name in _PARTS if name != "left"]
    found: list[tuple[str, int]] = []
    reached, columns = 0.0, 0
    whole = sum(share for _, share in shares) > 1 - 1e-6
    for name, share in shares:
        reached += share
        end = width if whole and reached > 1 - 1e-6 else min(int(reached * width), width - 1)
        if share > 0 and end == columns and name in ("lost", "cancelled") and columns < width:
            end = columns + 1
        found.append((name, max(end - columns, 0)))
        columns = max(end, columns)
    return [*found, ("left", width - columns)]
