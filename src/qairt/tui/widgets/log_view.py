"""A log on the screen, with its keys: moving, searching, selecting lines, copying."""

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
"""Keys of a log that are served by the screen around it."""
_ROOMY = frozenset({"wrap", "times", "copy", "next"})
"""Actions whose keys mean something else where the log is one pane of several."""


def is_for_screen(key: BindingType) -> bool:
    """Whether the screen around a log serves this key."""
    return isinstance(key, Binding) and key.action in SCREEN_ACTIONS


class LogView(LogWindow, inherit_bindings=False):
    """A `LogWindow` with keys. In its compact form some are left to the screen, where they mean something else."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list"),
        *(key for key in bindings("log") if not is_for_screen(key)),
    ]

    # Searching

    def search(self, text: str) -> None:
        """Go to the next line that contains `text`, in either case; an empty text is forgotten."""
        self._pattern = re.compile(re.escape(text), re.IGNORECASE) if text else None
        self._settle()
        self.refresh()
        self.screen.refresh_bindings()
        if self._pattern is not None:
            self._look_for(
                self._hits_of(self._pattern), 0 if self._following else self.cursor, 1, f"{text!r} is not there"
            )

    @property
    def is_searching(self) -> bool:
        """Whether places where a text is found are marked."""
        return self._pattern is not None

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self._compact and action in _ROOMY:
            return False
        return action != "next" or self._pattern is not None

    def action_follow(self) -> None:
        """Stay at the end, or stop."""
        self.following = not self._following

    def action_next(self, step: int) -> None:
        if self._pattern is not None:
            self._look_for(self._hits_of(self._pattern), self.cursor + step, step, "it is not there any more")

    def action_next_error(self) -> None:
        if self.file is not None:
            start = 0 if self._following else self.cursor + 1
            self._look_for(self.file.next_error, start, 1, "no line tells of an error")

    def action_wrap(self) -> None:
        self._wrap = not self._wrap
        with self._quietly():
            self.scroll_to(x=0, animate=False, force=True)
        self._settle()
        if not self._following:
            self._show_line(self._cursor)
        self.refresh()
        self._tell()

    def action_times(self) -> None:
        if self._first_time is not None:
            self._first_time = None
        elif self.file is not None:
            self._first_time = self.file.first_time()
            if self._first_time is None:
                said = "its beginning is still being read" if self.file.indexed < 1 else "no line begins with a time"
                self.notify(f"when the lines were written is not known: {said}", severity="warning")
        self._settle()
        self.refresh()

    def action_mark(self) -> None:
        """Begin to select lines at the cursor, or select none."""
        cursor = self.cursor
        if self._mark is None:
            self.following = False
            self._cursor = self._mark = cursor
        else:
            self._mark = None
        self.refresh()
        self._tell()

    def action_copy(self) -> None:
        text = self.copy_text
        said = copy(self.app, text)
        if text.count("\n") + 1 >= COPIED_LINES:
            said += f"; no more than {COPIED_LINES:,} lines are copied"
        self.notify(said, markup=False)
        self.clear_mark()

    def action_sideways(self, step: int) -> None:
        if not self._wrap:
            self.scroll_to(x=max(self.scroll_offset.x + step * max(self._width // 2, 1), 0), animate=False, force=True)

    def action_cursor_down(self) -> None:
        self._go(self._seen_cursor + 1)

    def action_cursor_up(self) -> None:
        self._go(self._seen_cursor - 1)

    def action_page_down(self) -> None:
        self._go(self._seen_cursor + max(self._height - 1, 1))

    def action_page_up(self) -> None:
        self._go(self._seen_cursor - max(self._height - 1, 1))

    def action_scroll_top(self) -> None:
        self._go(0)

    def action_scroll_bottom(self) -> None:
        self.following = True

    # Looking for lines

    def _hits_of(self, pattern: re.Pattern[str]) -> Callable[[int, int], Iterator[int | None]]:
        file = self.file
        return lambda start, step: iter(()) if file is None else file.find(pattern, start, step)

    def _look_for(self, find: Callable[[int, int], Iterator[int | None]], start: int, step: int, else_say: str) -> None:
        """Go to the first line found, past the end from the other end on. Keys are served meanwhile."""
        self.run_worker(self._find(find, start, step, else_say), group="find", exclusive=True)

    async def _find(
        self, find: Callable[[int, int], Iterator[int | None]], start: int, step: int, else_say: str
    ) -> None:
        file = self.file
        if file is None:
            return
        for around in (False, True):
            begin = start if not around else 0 if step > 0 else file.line_count - 1
            for line in find(begin, step):
                if line is None:
                    await asyncio.sleep(0)
                    continue
                if around:
                    self.notify("from the beginning again" if step > 0 else "from the end again")
                self._go_to_found(line)
                return
        if file.indexed < 1:
            else_say += f" in the last {count(file.line_count, 'line')}; those before are still being read"
        self.notify(else_say, severity="warning", markup=False)

    def _go_to_found(self, line: int) -> None:
        self._following = False
        self._cursor = line
        self._show_line(line)
        self._show_match(line)
        self.refresh()
        self._tell()

    def _show_match(self, line: int) -> None:
        """Scroll sideways to where the text is found, where lines are cut."""
        if self._pattern is None or self._wrap or self.file is None:
            return
        match = self._pattern.search(self._look.text(self.file.line(line).text))
        left, width = self.scroll_offset.x, self._width
        if match is not None and not left <= match.start() <= match.end() < left + width:
            x = 0 if match.end() < width else max(match.start() - width // 2, 0)
            self._widest = max(self._widest, x + width)
            self._settle()
            self.scroll_to(x=x, animate=False, force=True)
