"""The plain terminal for a while: what happens scrolls by as text that can be selected, searched and kept."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qairt.engine.record import events as ev

_INTERVAL = 0.25  # seconds
_CTRL_C = b"\x03"

Tell = Callable[[ev.Event], list[str]]
"""The lines that an event is told in; none for those that are not worth one."""


def stream_events(
    missed: Iterable[ev.Event],
    poll: Callable[[], list[ev.Event]],
    tell: Tell,
    *,
    is_over: Callable[[], bool],
    back: str,
) -> list[ev.Event]:
    """Print what was missed, then what comes, until `back` is pressed. Returns the events that came.

    The terminal must be ours, in its usual mode.
    """
    came: list[ev.Event] = []
    with _keys() as pressed:
        _say(f"── every event of the run as text; {back} returns to the screen ──")
        for event in missed:
            _say_all(event, tell)
        over = False
        while not pressed(back):
            for event in poll():
                came.append(event)
                _say_all(event, tell)
            if is_over() and not over:
                over = True
                _say(f"── the run is over; {back} returns to the screen ──")
    return came


def stream_file(path: Path, start: int, *, back: str) -> int:
    """Print a file from byte `start` on, as it grows, until `back` is pressed. Returns where printing ended."""
    with _keys() as pressed:
        _say(f"── {path}; {back} returns to the screen ──")
        while True:
            try:
                with path.open("rb") as file:
                    file.seek(start)
                    data = file.read()
            except OSError as error:
                _say(f"it cannot be read: {error.strerror}")
                data = b""
            start += len(data)
            if data:
                _say(printable(data.decode(errors="replace")), end="")
            if pressed(back):
                return start


def printable(text: str) -> str:
    """`text` without what a terminal would obey."""
    return "".join(char for char in text if char in "\n\t" or char.isprintable())


def _say_all(event: ev.Event, tell: Tell) -> None:
    moment = time.strftime("%H:%M:%S", time.localtime(event.time))
    for line in tell(event):
        _say(f"{moment} {printable(line)}")


def _say(text: str, end: str = "\n") -> None:
    encoding = sys.__stdout__.encoding if sys.__stdout__ else "utf-8"
    os.write(1, (text + end).encode(encoding or "utf-8", errors="replace"))


@contextmanager
def _keys() -> Iterator[Callable[[str], bool]]:
    """While inside, a function that waits a moment and tells whether a key was pressed; nothing is echoed."""
    before = termios.tcgetattr(0)
    quiet = termios.tcgetattr(0)
    quiet[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(0, termios.TCSADRAIN, quiet)

    def pressed(key: str) -> bool:
        ready, _, _ = select.select([0], [], [], _INTERVAL)
        if not ready:
            return False
        data = os.read(0, 1024)
        return not data or key.encode() in data or _CTRL_C in data  # where leaving asks

    try:
        yield pressed
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
