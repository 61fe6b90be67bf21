"""The lines of a log file that fit on the screen, cut or wrapped to its width. No Textual here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from rich.cells import get_character_cell_size

from qairt.engine.record.tool_lines import fold, is_harmless
from qairt.tui.lines.log import level_of, since, time_of
from qairt.tui.log_file import LogFile
from qairt.tui.terminal.glyphs import Look

_LONGEST_SERIES = 1000
"""Lines that are counted; more are not looked at for one row."""
_LEVEL_COLUMNS = 400
"""Characters of a line that its level is judged by."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of the screen: a line or a part of it."""

    line: int
    start: int
    """Index in the line of the row's first character."""
    text: str
    level: str = ""
    matches: tuple[tuple[int, int], ...] = ()
    """Start and end of search matches in `text`."""
    more: bool = False
    """The line continues, but no row shows the rest."""
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
    """Columns scrolled to the right; 0 if lines are wrapped."""
    pattern: re.Pattern[str] | None = None
    first_time: float | None = None
    """The time of the first line, if times are shown."""

    def rows(self, file: LogFile, top: int) -> list[LogRow]:
        """The rows from line `top` on, at most `height`; at the end of a wrapped file, the last rows."""
        count = file.line_count
        if self.wrap and top >= self.last_top(file, count - 1):
            return self._last_rows(file, count)
        rows: list[LogRow] = []
        number = max(top, 0)
        while len(rows) < self.height and number < count:
            rows += self._rows_of(file, number)
            number += 1
        if len(rows) < self.height and top > 0:  # lines at the end are folded
            return self._last_rows(file, count)
        return rows[: self.height]

    def last_top(self, file: LogFile, last: int) -> int:
        """The first line of the page whose last complete line is `last`."""
        if not self.wrap:
            return max(last + 1 - self.height, 0)
        room, number = self.height, last + 1
        while number > 0 and room > 0:
            room -= len(self._rows_of(file, number - 1))
            number -= 1
        return min(number + (room < 0), max(last, 0))

    def _last_rows(self, file: LogFile, number: int) -> list[LogRow]:
        rows: list[LogRow] = []
        while len(rows) < self.height and number > 0:
            number -= 1
            rows[:0] = self._rows_of(file, number)
        return rows[-self.height :] if self.height else []

    @property
    def _columns(self) -> int:
        return max(self.width * self.height if self.wrap else self.left + self.width, _LEVEL_COLUMNS)

    def _is_note(self, file: LogFile, number: int) -> bool:
        return 0 <= number < file.line_count and is_harmless(file.line(number, _LEVEL_COLUMNS).text)

    def _folded(self, file: LogFile, number: int) -> list[LogRow]:
        """One row for a series of lines that mean nothing, at its first."""
        if self._is_note(file, number - 1):
            return []
        later = range(number, min(file.line_count, number + _LONGEST_SERIES))
        series = takewhile(lambda other: self._is_note(file, other), later)
        text = self.look.text(fold(sum(1 for _ in series)))
        return [LogRow(number, 0, text[: self.width], "note", (), len(text) > self.width)]

    def _rows_of(self, file: LogFile, number: int) -> list[LogRow]:
        """None for a line that is folded into the one before; while something is searched for, none is."""
        if self.pattern is None and self._is_note(file, number):
            return self._folded(file, number)
        line = file.line(number, self._columns)
        text = self.look.text(line.text)
        level = level_of(text[:_LEVEL_COLUMNS])
        matches = tuple(match.span() for match in self.pattern.finditer(text)) if self.pattern else ()
        when = ""
        if self.first_time is not None and (moment := time_of(text)) is not None:
            when = since(self.first_time, moment)
        pieces = _wrapped(text, self.width, self.height) if self.wrap else [_window(text, self.left, self.width)]
        rows = []
        for nth, (start, piece) in enumerate(pieces):
            end = start + len(piece)
            here = tuple((max(a, start) - start, min(b, end) - start) for a, b in matches if a < end and b > start)
            more = nth == len(pieces) - 1 and (line.more or end < len(text))
            rows.append(LogRow(number, start, piece, level, here, more, when if nth == 0 else ""))
        return rows


def _window(text: str, left: int, width: int) -> tuple[int, str]:
    """The text in `width` columns from column `left` on, and the index of its first character."""
    if text.isascii():
        return min(left, len(text)), text[left : left + width]
    start, column = 0, 0
    while start < len(text) and column < left:
        column += get_character_cell_size(text[start])
        start += 1
    return start, text[start : start + _fitting(text, start, width)]


def _wrapped(text: str, width: int, height: int) -> list[tuple[int, str]]:
    """`text` in at most `height` rows of `width` columns, with the index of each first character."""
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
