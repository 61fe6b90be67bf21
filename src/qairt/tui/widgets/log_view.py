"""A log with its keys: moving, searching, selecting lines, copying."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import ClassVar

from textual.binding import Binding, BindingType

from qairt.amounts import count
from qairt.tui.keymap import bindings
from qairt.tui.terminal.clipboard import copy
from qairt.tui.widgets.log_window import COPIED_LINES, LogWindow

SCREEN_ACTIONS = frozenset({"search", "pager", "back"})
"""Actions handled by the screen around the log."""
_FULL_SCREEN_ACTIONS = frozenset({"wrap", "times", "copy", "next"})
"""Actions whose keys mean something else when the log is one pane of several."""


def is_for_screen(key: BindingType) -> bool:
    """Whether the screen around the log handles this key."""
    return isinstance(key, Binding) and key.action in SCREEN_ACTIONS


FindLines = Callable[[int, int], Iterator[int | None]]
"""Yields matching line numbers, given a start and a step, and None while it searches."""


class LogView(LogWindow, inherit_bindings=False):
    """A `LogWindow` with keys. In compact form it leaves those to the screen that mean something else there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list"),
        *(key for key in bindings("log") if not is_for_screen(key)),
    ]

    # Searching

    def search(self, text: str) -> None:
        """Go to the next line that contains `text`, ignoring case; an empty text ends the search."""
        self._pattern = re.compile(re.escape(text), re.IGNORECASE) if text else None
        self._settle()
        self.refresh()
        self.screen.refresh_bindings()
        if self._pattern is not None:
            start = 0 if self._following else self.cursor
            self._go_to_first(self._matches(self._pattern), start, 1, not_found=f"no match for {text!r}")

    @property
    def is_searching(self) -> bool:
        """Whether matches of a search are highlighted."""
        return self._pattern is not None

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self._compact and action in _FULL_SCREEN_ACTIONS:
            return False
        return action != "next" or self._pattern is not None

    def action_follow(self) -> None:
        """Follow the end, or stop following."""
        self.following = not self._following

    def action_next(self, step: int) -> None:
        if self._pattern is not None:
            self._go_to_first(self._matches(self._pattern), self.cursor + step, step, not_found="no match any more")

    def action_next_error(self) -> None:
        if self.file is not None:
            start = 0 if self._following else self.cursor + 1
            self._go_to_first(self.file.next_error, start, 1, not_found="no errors")

    def action_wrap(self) -> None:
        self._wrap = not self._wrap
        with self._quietly():
            self.scroll_to(x=0, animate=False, force=True)
        self._settle()
        if not self._following:
            self._show_line(self._cursor)
        self.refresh()
        self._announce_change()

    def action_times(self) -> None:
        if self._first_time is not None:
            self._first_time = None
        elif self.file is not None:
            self._first_time = self.file.first_time()
            if self._first_time is None:
                why = (
                    "the start of the file is still being read" if self.file.indexed < 1 else "no line starts with one"
                )
                self.notify(f"no times to show: {why}", severity="warning")
        self._settle()
        self.refresh()

    def action_mark(self) -> None:
        """Start selecting lines at the cursor, or stop."""
        cursor = self.cursor
        if self._mark is None:
            self.following = False
            self._cursor = self._mark = cursor
        else:
            self._mark = None
        self.refresh()
        self._announce_change()

    def action_copy(self) -> None:
        text = self.copy_text
        outcome = copy(self.app, text)
        if text.count("\n") + 1 >= COPIED_LINES:
            outcome += f"; at most {COPIED_LINES:,} lines are copied"
        self.notify(outcome, markup=False)
        self.clear_mark()

    def action_sideways(self, step: int) -> None:
        if not self._wrap:
            self.scroll_to(x=max(self.scroll_offset.x + step * max(self._width // 2, 1), 0), animate=False, force=True)

    def action_cursor_down(self) -> None:
        self._go(self._visible_cursor + 1)

    def action_cursor_up(self) -> None:
        self._go(self._visible_cursor - 1)

    def action_page_down(self) -> None:
        self._go(self._visible_cursor + max(self._height - 1, 1))

    def action_page_up(self) -> None:
        self._go(self._visible_cursor - max(self._height - 1, 1))

    def action_scroll_top(self) -> None:
        self._go(0)

    def action_scroll_bottom(self) -> None:
        self.following = True

    # Finding lines

    def _matches(self, pattern: re.Pattern[str]) -> FindLines:
        file = self.file
        return lambda start, step: iter(()) if file is None else file.find(pattern, start, step)

    def _go_to_first(self, find: FindLines, start: int, step: int, *, not_found: str) -> None:
        """Go to the first line found, wrapping around at the end, while keys still work."""
        self.run_worker(self._find(find, start, step, not_found), group="find", exclusive=True)

    async def _find(self, find: FindLines, start: int, step: int, not_found: str) -> None:
        file = self.file
        if file is None:
            return
        for wrapped in (False, True):
            begin = start if not wrapped else 0 if step > 0 else file.line_count - 1
            for line in find(begin, step):
                if line is None:
                    await asyncio.sleep(0)
                    continue
                if wrapped:
                    self.notify("continued from the start" if step > 0 else "continued from the end")
                self._go_to_match(line)
                return
        if file.indexed < 1:
            not_found += f" in the last {count(file.line_count, 'line')}; earlier lines are still being read"
        self.notify(not_found, severity="warning", markup=False)

    def _go_to_match(self, line: int) -> None:
        self._following = False
        self._cursor = line
        self._show_line(line)
        self._show_match(line)
        self.refresh()
        self._announce_change()

    def _show_match(self, line: int) -> None:
        """Scroll sideways to the match if lines are cut off."""
        if self._pattern is None or self._wrap or self.file is None:
            return
        match = self._pattern.search(self._look.text(self.file.line(line).text))
        left, width = self.scroll_offset.x, self._width
        if match is not None and not left <= match.start() <= match.end() < left + width:
            x = 0 if match.end() < width else max(match.start() - width // 2, 0)
            self._widest = max(self._widest, x + width)
            self._settle()
            self.scroll_to(x=x, animate=False, force=True)
