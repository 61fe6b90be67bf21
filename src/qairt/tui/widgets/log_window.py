"""A window over a log file, at its end or anywhere in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from rich.style import Style
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from qairt.amounts import count
from qairt.tui.log_file import LogFile
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.log_page import LogRow, Page
from qairt.tui.widgets.log_strip import ROLES, TIME_COLUMNS, Highlight, LogPainter

COPIED_LINES = 10_000


class LogWindow(ScrollView, can_focus=True, inherit_bindings=False):
    """A window over a log file. It follows the end of the file unless it is scrolled up.

    The file is read only when `refresh_from_file` is called; only changed rows are repainted. `LogView` adds keys.

    Args:
        compact: one pane of several, with its content in the border title.
    """

    ALLOW_SELECT = True
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"log-view--{role}" for role in ROLES}
    DEFAULT_CSS = """
    LogWindow {
        background: $background;
        overflow-x: auto;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
    }
    LogWindow > .log-view--error { color: $state-failed; }
    LogWindow > .log-view--warning { color: $state-warn; }
    LogWindow > .log-view--note { color: $text-muted; }
    LogWindow > .log-view--match { text-style: bold reverse; }
    LogWindow > .log-view--marked { text-style: reverse; }
    LogWindow > .log-view--cursor {
        background: $block-cursor-blurred-background;
        text-style: $block-cursor-blurred-text-style;
    }
    """

    class Changed(Message):
        """What is shown, or whether it follows the file, has changed."""

    def __init__(
        self, look: Look | None = None, *, compact: bool = False, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._look = look or Look()
        self._compact = compact
        self._title = ""
        self._nothing = ""
        self._shown_title = ""
        self.file: LogFile | None = None
        """The file that is shown."""
        self._following = True
        self._cursor = 0
        self._mark: int | None = None
        self._wrap = False
        self._first_time: float | None = None
        self._pattern: re.Pattern[str] | None = None
        self._widest = 0
        self._rows: list[LogRow] | None = None
        self._settling = False

    # Content

    def open(self, path: Path | None, title: str = "", nothing: str = "") -> None:
        """Show the end of a file; None for nothing. Opening the same file again keeps the position.

        Args:
            nothing: what is shown while the file is empty, or if there is none.
        """
        said = self._empty_text
        self._title, self._nothing = title, nothing
        if self._empty_text != said:
            self.refresh()
        if path is None or self.file is None or self.file.path != path:
            self._close()
            self.file = None if path is None else LogFile(path)
            self._start_over()
            if self.is_attached and self.display:
                self.refresh_from_file()
        self._announce_change()

    def refresh_from_file(self) -> bool:
        """Show what was written since the last call; whether anything was."""
        change = self.file.poll() if self.file is not None else None
        if change is None:
            return False
        before, offset = self._rows, self.scroll_offset
        if change.replaced:
            self._start_over()
        elif change.shift:
            self._shift(change.shift)
        self._settle()
        if self.scroll_offset == offset and before is not None and not change.replaced:
            self._repaint(before)
        else:
            self.refresh()
        self._announce_change()
        return True

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._settle()
        self.refresh()
        self._announce_change()

    @property
    def line_count(self) -> int:
        return self.file.line_count if self.file is not None else 0

    @property
    def following(self) -> bool:
        """Whether it stays at the end of the file as the file grows."""
        return self._following

    @following.setter
    def following(self, following: bool) -> None:
        if following == self._following:
            return
        self._cursor = max(self.line_count - 1, 0)
        self._following = following
        if following:
            self._mark = None
            self._settle()
        self.refresh()
        self._announce_change()

    @property
    def cursor(self) -> int:
        """The line that keys act on; the last one while following."""
        return max(self.line_count - 1, 0) if self._following else self._cursor

    @property
    def position(self) -> str:
        """The position as text."""
        if self._following:
            return "following"
        if self._mark is not None:
            return f"{count(abs(self._cursor - self._mark) + 1, 'line')} selected"
        return f"line {self.cursor + 1:,} of {self.line_count:,}"

    @property
    def copy_text(self) -> str:
        """The selection, or the line under the cursor."""
        if self.file is None:
            return ""
        if self.is_attached and (selection := self.text_selection) is not None:
            return self.get_selection(selection)[0]
        first, last = sorted((self.cursor, self.cursor if self._mark is None else self._mark))
        return "\n".join(line.text for line in self.file.lines(first, min(last + 1 - first, COPIED_LINES)))

    def clear_mark(self) -> bool:
        """Deselect all lines; whether any were selected."""
        had, self._mark = self._mark is not None, None
        self.refresh()
        self._announce_change()
        return had

    # Selecting with the mouse

    @property
    def allow_select(self) -> bool:
        return True

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """The text of a mouse selection; of a very long one, its first lines."""
        if self.file is None:
            return "", "\n"
        first = selection.start.y if selection.start else 0
        last = selection.end.y if selection.end else self.line_count - 1
        lines = self.file.lines(first, min(last + 1 - first, COPIED_LINES))
        texts = []
        for number, line in enumerate(lines, start=first):
            begin, end = selection.get_span(number) or (0, 0)
            text = self._look.text(line.text)
            texts.append(text[begin:] if end == -1 else text[begin:end])
        return "\n".join(texts), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        if selection is not None and self._following:
            self.following = False  # or the text would move under the mouse
        self.refresh()

    # Painting

    def render_line(self, y: int) -> Strip:
        rows = self._visible_rows()
        width = self.size.width
        painter = LogPainter(self._page, self.rich_style, self._style, self.app.console)
        if y >= len(rows):
            return painter.note(self._empty_text if y == 0 and not rows else "", width)
        return painter.strip(rows[y], self._highlights(rows[y]), width)

    def _highlights(self, row: LogRow) -> list[Highlight]:
        """The marked lines, the cursor, and what is selected with the mouse."""
        found: list[Highlight] = []
        if self._mark is not None:
            if min(self._mark, self._cursor) <= row.line <= max(self._mark, self._cursor):
                found.append(Highlight(self._style("marked"), 0, len(row.text)))
        elif row.line == self._cursor and not self._following and self.has_focus:
            found.append(Highlight(self._style("cursor")))
        selection = self.text_selection
        span = selection.get_span(row.line) if selection is not None else None
        if span is not None:
            start, end = span
            end = len(row.text) if end == -1 else end - row.start
            if end > 0:
                style = self.screen.get_component_rich_style("screen--selection")
                found.append(Highlight(style, max(start - row.start, 0), end))
        return found

    def _style(self, role: str) -> Style:
        return self.get_component_rich_style(f"log-view--{role}", partial=True)

    @property
    def _empty_text(self) -> str:
        """Shown instead of lines if there are none."""
        if self.file is None:
            return self._look.text(self._nothing or "no log for this item") if self._title else ""
        return self._look.text(self.file.problem or self._nothing or "the log is empty")

    # Events

    def on_mount(self) -> None:
        self._announce_change()

    def on_unmount(self) -> None:
        self._close()

    def on_resize(self) -> None:
        self._settle()
        self.refresh()

    def on_show(self) -> None:
        self.refresh_from_file()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def watch_scroll_x(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_x(old_value, new_value)
        self._rows = None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._rows = None
        if not self._settling and round(new_value) != round(old_value):
            self.following = round(new_value) >= self.max_scroll_y

    # Inside

    @property
    def _width(self) -> int:
        """Columns for text."""
        return max(self.scrollable_content_region.width - (TIME_COLUMNS if self._first_time is not None else 0), 1)

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height

    @property
    def _page(self) -> Page:
        left = 0 if self._wrap else self.scroll_offset.x
        return Page(self._width, self._height, self._look, self._wrap, left, self._pattern, self._first_time)

    def _visible_rows(self) -> list[LogRow]:
        if self._rows is None:
            self._rows = self._page.rows(self.file, self.scroll_offset.y) if self.file is not None else []
            longest = max((row.start + len(row.text) for row in self._rows), default=0)
            if not self._wrap and any(row.more for row in self._rows):
                longest += self._width
            if longest > self._widest and not self._wrap:
                self._widest = longest
                self.call_later(self._settle)
        return self._rows

    @property
    def _visible_cursor(self) -> int:
        """The cursor, moved into the visible rows."""
        rows = self._visible_rows()
        return min(max(self.cursor, rows[0].line), rows[-1].line) if rows else 0

    def _settle(self) -> None:
        """Adjust the scroll bar to the file, and stay at its end while following."""
        self._rows = None
        if self.file is None or not self.is_attached or not self._height:
            return
        lines = self.line_count
        top = self._page.last_top(self.file, lines - 1)
        with self._quietly():
            height = top + self._height if top else min(lines, self._height)
            size = Size(0 if self._wrap else self._widest, height)
            if size != self.virtual_size:
                # Assigning it would lay out the whole screen at every refresh.
                self.set_reactive(LogWindow.virtual_size, size)
                self._scroll_update(size)
            if self._following:
                self.scroll_to(y=top, animate=False, force=True)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Inside the block, scrolling is not done by the user."""
        before, self._settling = self._settling, True
        try:
            yield
        finally:
            self._settling = before

    def _repaint(self, before: list[LogRow]) -> None:
        rows = self._visible_rows()
        for y in range(max(len(rows), len(before))):
            if rows[y : y + 1] != before[y : y + 1]:
                self.refresh(Region(0, y, self.size.width, 1))

    def _go(self, line: int) -> None:
        """Move the cursor to a line; on the last one, follow."""
        last = self.line_count - 1
        line = max(min(line, last), 0)
        if line == last and self._mark is None:
            self.following = True
            return
        self.following = False
        self._cursor = line
        self._show_line(line)
        self.refresh()
        self._announce_change()

    def _show_line(self, line: int) -> None:
        if self.file is None:
            return
        top = self._page.last_top(self.file, line)
        y = self.scroll_offset.y
        with self._quietly():
            if line < y or y < top:
                self.scroll_to(y=line if line < y else top, animate=False, force=True)

    def _start_over(self) -> None:
        self.workers.cancel_node(self)
        self._following = True
        self._mark = None
        self._cursor = 0
        self._widest = 0
        self._first_time = None
        self._rows = None
        if self.is_attached:
            with self._quietly():
                self.scroll_to(x=0, y=0, animate=False, force=True)
            self._settle()
            self.refresh()

    def _shift(self, lines: int) -> None:
        """Adjust to lines that were found before the known ones."""
        self._cursor += lines
        if self._mark is not None:
            self._mark += lines
        if self.text_selection is not None:
            self.screen.clear_selection()
        self._settle()
        if not self._following:
            with self._quietly():
                self.scroll_to(y=self.scroll_offset.y + lines, animate=False, force=True)

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()

    def _announce_change(self) -> None:
        if self._compact:
            parts = ["4 Log", self._title, self.position if self.file is not None else ""]
            title = self._look.text(" · ".join(part for part in parts if part))
            if title != self._shown_title:
                self._shown_title = title
                self.border_title = Content(title)
        if self.is_attached:
            self.post_message(self.Changed())
