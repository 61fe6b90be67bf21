"""The run or a log as plain text on the terminal, for selecting, searching and scrollback."""

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
from qairt.files import open_regular
from qairt.printable import printable, readable

_INTERVAL = 0.25  # seconds
_CTRL_C = b"\x03"

FormatEvent = Callable[[ev.Event], list[str]]
"""The lines for an event; none for unimportant ones."""


def stream_events(
    missed: Iterable[ev.Event],
    poll: Callable[[], list[ev.Event]],
    format_event: FormatEvent,
    *,
    is_over: Callable[[], bool],
    back: str,
) -> list[ev.Event]:
    """Print the missed events, then new ones, until `back` is pressed. Returns the new events.

    Call it while the app is suspended.
    """
    received: list[ev.Event] = []
    with _keys() as pressed:
        _write(f"── all events of the run; press {back} to return ──\n")
        for event in missed:
            _print(event, format_event)
        over = False
        while not pressed(back):
            for event in poll():
                received.append(event)
                _print(event, format_event)
            if is_over() and not over:
                over = True
                _write(f"── the run has ended; press {back} to return ──\n")
    return received


def stream_file(path: Path, start: int, *, back: str) -> int:
    """Print a file from byte `start` on, as it grows, until `back` is pressed. Returns the offset reached."""
    with _keys() as pressed:
        _write(f"── {printable(str(path))}; press {back} to return ──\n")
        while True:
            try:
                with open_regular(path) as file:
                    file.seek(start)
                    data = file.read()
            except OSError as error:
                _write(f"cannot be read: {error.strerror}\n")
                data = b""
            start += len(data)
            if data:
                _write(readable(data))
            if pressed(back):
                return start


def _print(event: ev.Event, format_event: FormatEvent) -> None:
    moment = time.strftime("%H:%M:%S", time.localtime(event.time))
    for line in format_event(event):
        _write(f"{moment} {printable(line)}\n")


def _write(text: str) -> None:
    encoding = sys.__stdout__.encoding if sys.__stdout__ else "utf-8"
    os.write(1, text.encode(encoding or "utf-8", errors="replace"))


@contextmanager
def _keys() -> Iterator[Callable[[str], bool]]:
    """Inside the block, a function that waits briefly and returns whether a key was pressed. Nothing is echoed."""
    before = termios.tcgetattr(0)
    quiet = termios.tcgetattr(0)
    quiet[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(0, termios.TCSADRAIN, quiet)

    def pressed(key: str) -> bool:
        ready, _, _ = select.select([0], [], [], _INTERVAL)
        if not ready:
            return False
        data = os.read(0, 1024)
        return not data or key.encode() in data or _CTRL_C in data  # the app confirms before leaving

    try:
        yield pressed
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
