"""Which lines of a log file stand on the screen, cut or wrapped to its width. Pure; knows nothing of Textual."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import get_character_cell_size

from qairt.tui.lines.log import level_of, since, time_of
from qairt.tui.log_file import FileLine, LogFile
from qairt.tui.terminal.glyphs import Look

_JUDGED = 400
"""Characters of a line that tell its level."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of the screen: a line, or a part of one."""

    line: int
    start: int
    """The character of the line that it begins with."""
    text: str
    level: str = ""
    found: tuple[tuple[int, int], ...] = ()
    """Where the text searched for stands in `text`."""
    more: bool = False
    """The line goes on, and no row shows it."""
    when: str = ""
    """Time since the log's first line."""


@dataclass(frozen=True, slots=True)
class Page:
    """How lines are laid out."""

    width: int
    height: int
    look: Look = Look()  # noqa: RUF009 - frozen
    wrap: bool = False
    left: int = 0
    """Columns scrolled to the right; 0 where lines are wrapped."""
    pattern: re.Pattern[str] | None = None
    first_time: float | None = None
    """Given where times are to be shown."""

    def rows(self, file: LogFile, top: int) -> list[LogRow]:
        """The rows from line `top` on, at most `height`; at the end of wrapped lines, the last rows."""
        count = file.line_count
        if self.wrap and top >= self.last_top(file, count - 1):
            return self._last_rows(file, count)
        rows: list[LogRow] = []
        number = max(top, 0)
        while len(rows) < self.height and number < count:
            rows += self._rows_of(number, file.line(number, self._wanted))
            number += 1
        return rows[: self.height]

    def last_top(self, file: LogFile, last: int) -> int:
        """The first line of a page on which line `last` is the last whole one."""
        if not self.wrap:
            return max(last + 1 - self.height, 0)
        room, number = self.height, last + 1
        while number > 0 and room > 0:
            room -= len(self._rows_of(number - 1, file.line(number - 1, self._wanted)))
            number -= 1
        return min(number + (room < 0), max(last, 0))

    def _last_rows(self, file: LogFile, number: int) -> list[LogRow]:
        rows: list[LogRow] = []
        while len(rows) < self.height and number > 0:
            number -= 1
            rows[:0] = self._rows_of(number, file.line(number, self._wanted))
        return rows[-self.height :] if self.height else []

    @property
    def _wanted(self) -> int:
        return max(self.width * self.height if self.wrap else self.left + self.width, _JUDGED)

    def _rows_of(self, number: int, line: FileLine) -> list[LogRow]:
        text = self.look.text(line.text)
        level = level_of(text[:_JUDGED])
        found = tuple(match.span() for match in self.pattern.finditer(text)) if self.pattern else ()
        when = ""
        if self.first_time is not None and (moment := time_of(text)) is not None:
            when = since(self.first_time, moment)
        pieces = _wrapped(text, self.width, self.height) if self.wrap else [_window(text, self.left, self.width)]
        rows = []
        for nth, (start, piece) in enumerate(pieces):
            end = start + len(piece)
            here = tuple((max(a, start) - start, min(b, end) - start) for a, b in found if a < end and b > start)
            more = nth == len(pieces) - 1 and (line.more or end < len(text))
            rows.append(LogRow(number, start, piece, level, here, more, when if nth == 0 else ""))
        return rows


def _window(text: str, left: int, width: int) -> tuple[int, str]:
    """What stands in `width` columns from column `left` on, and the character it begins with."""
    if text.isascii():
        return min(left, len(text)), text[left : left + width]
    start, column = 0, 0
    while start < len(text) and column < left:
        column += get_character_cell_size(text[start])
        start += 1
    return start, text[start : start + _fitting(text, start, width)]


def _wrapped(text: str, width: int, height: int) -> list[tuple[int, str]]:
    """`text` in rows of `width` columns, at most `height`, and the characters that they begin with."""
    width = max(width, 1)
    if text.isascii():
        stop = min(len(text), width * height)
        return [(start, text[start : min(start + width, stop)]) for start in range(0, stop, width)] or [(0, "")]
    rows: list[tuple[int, str]] = []
    start = 0
    while start < len(text) and len(rows) < height:
        count = max(_fitting(text, start, width), 1)
        rows.append((start, text[start : start + count]))
        start += count
    return rows or [(0, "")]


def _fitting(text: str, start: int, width: int) -> int:
    """How many characters from `start` on fit in `width` columns."""
    end = start
    while end < len(text) and (width := width - get_character_cell_size(text[end])) >= 0:
        end += 1
    return end - start
