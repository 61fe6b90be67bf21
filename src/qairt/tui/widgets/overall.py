"""Progress of the whole run, in one line."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.matrix_columns import fitted

_MIN_BAR = 8


class OverallBar(Widget):
    """A bar, followed by text such as `38/61 items · 2 cached · ETA ~1h05m (45m-1h30m)`.

    In a narrow window the bar shrinks first, then disappears.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"overall-bar--done", "overall-bar--left", "overall-bar--text"}
    DEFAULT_CSS = """
    OverallBar { height: 1; width: 1fr; }
    OverallBar > .overall-bar--done { color: $state-running; }
    OverallBar > .overall-bar--left { color: $text-muted; }
    OverallBar > .overall-bar--text { color: $foreground; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._look = look or Look()
        self._fraction = 0.0
        self._text = ""
        self._parts: tuple[str, str, str] = ("", "", "")

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
        return "".join(self._parts)

    def show(self, fraction: float, text: str) -> None:
        """Show the progress, 0 to 1, and a text; repaints only when the line changed."""
        self._fraction, self._text = min(max(fraction, 0.0), 1.0), plain(text)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def render_line(self, y: int) -> Strip:
        done, left, text = self._parts
        names = ("overall-bar--done", "overall-bar--left", "overall-bar--text")
        segments = [
            Segment(part, self.get_component_rich_style(name))
            for part, name in zip((done, left, text), names, strict=True)
            if part
        ]
        return Strip(segments).adjust_cell_length(self.size.width, self.get_component_rich_style(names[2]))

    def _draw(self) -> None:
        width = self.size.width
        text = self._look.text(self._text)
        bar = width - cell_len(text) - 3
        if bar < _MIN_BAR:
            parts = ("", "", fitted(" " + text, width, self._look))
        else:
            done = round(self._fraction * bar)
            parts = (
                " " + self._look.text("█") * done,
                self._look.text("░") * (bar - done),
                f" {text} ",
            )
        if parts != self._parts:
            self._parts = parts
            self.refresh()
