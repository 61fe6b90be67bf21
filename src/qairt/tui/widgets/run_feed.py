"""What has happened in the run so far: shown in place of the log of an item that has none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from qairt.engine.record import events as ev
from qairt.engine.record.sentences import format_event
from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.matrix_columns import fitted

_Line = tuple[str, str]
"""Text and component class."""


class RunFeed(Widget):
    """The latest events as lines, the newest at the bottom; above them what is known of the selected item."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"run-feed--{role}" for role in ("text", "note", "error", "done")}
    DEFAULT_CSS = """
    RunFeed { background: $background; }
    RunFeed > .run-feed--text { color: $foreground; }
    RunFeed > .run-feed--note { color: $text-muted; }
    RunFeed > .run-feed--error { color: $state-failed; }
    RunFeed > .run-feed--done { color: $state-done; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._look = look or Look()
        self._events: Sequence[ev.Event] = ()
        self._note = ""
        self._shown: tuple[int, int, str] | None = None
        self._lines: list[_Line] = []

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._draw()

    @property
    def lines(self) -> list[str]:
        """What is shown, as text."""
        return [text for text, _ in self._lines]

    def show(self, events: Sequence[ev.Event], note: str) -> None:
        """Show the end of `events`; repaints only when something happened.

        Args:
            note: about the selected item.
        """
        self._events, self._note = events, note
        shown = (id(events), len(events), note)
        if shown != self._shown:
            self._shown = shown
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        text, role = self._lines[y] if y < len(self._lines) else ("", "text")
        style = self.get_component_rich_style(f"run-feed--{role}")
        return Strip([Segment(fitted(text, width, self._look), style)], width)

    def _draw(self) -> None:
        height = self.size.height
        note: list[_Line] = [(plain(self._note), "note")] if self._note else []
        latest: list[_Line] = []
        for line in _newest_first(self._events):
            if len(latest) >= height - len(note):
                break
            latest.append(line)
        self._lines = (note + latest[::-1])[:height]
        self.refresh()


def _newest_first(events: Sequence[ev.Event]) -> Iterator[_Line]:
    for event in reversed(events):
        role = "text"
        if isinstance(event, ev.ItemFailedEvent):
            role = "error"
        elif isinstance(event, ev.ItemFinished):
            role = "done"
        elif isinstance(event, ev.ItemStarted):
            role = "note"
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        for line in reversed(format_event(event)):
            yield f"{clock} {plain(line)}", role
