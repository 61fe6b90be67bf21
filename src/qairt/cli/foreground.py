"""A program that can leave the terminal to the shell and go on: it is a child, and the shell waits for its parent.

The parent does nothing but wait. When the child says that it leaves, the parent ends, the shell takes the terminal
back, and the child goes on without one. Forked before anything large is imported, the parent costs next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_INTERVAL = 0.25  # seconds between looks at whether the child was stopped (Ctrl-Z)

_PLAIN = (
    b"\x1b[<u\x1b[?2026l\x1b[?2004l\x1b[?1004l\x1b[?1006l\x1b[?1015l\x1b[?1003l\x1b[?1000l"
    b"\x1b[?7h\x1b[?1049l\x1b[0m\x1b[?25h"
)
"""Undoes what a full screen asks of a terminal: keys, paste, focus, mouse, wrapping, its own page, cursor."""

Leave = Callable[[int], None]
"""Called in the child with the exit code that the shell is to see: from then on there is no terminal."""


@dataclass(frozen=True)
class Left:
    """The child left the terminal to the shell and goes on."""

    code: int


def run_in_foreground(main: Callable[[Leave], int]) -> int:
    """Run `main` in a child; returns its exit code, or that with which it left.

    Where a process cannot fork, `main` runs here, and leaving only closes the terminal.
    """
    if not hasattr(os, "fork"):
        return main(lambda code: None)
    reading, writing = os.pipe()
    modes = _terminal_modes()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_child(main, writing))
    os.close(writing)
    try:
        status = _wait(child, reading)
    finally:
        os.close(reading)
    if isinstance(status, Left):
        return status.code
    if os.WIFSIGNALED(status):
        _take_back_terminal(modes, os.WTERMSIG(status))
        return 128 + os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status)


def _child(main: Callable[[Leave], int], writing: int) -> int:
    def leave(code: int) -> None:
        close_terminal()
        with suppress(OSError):
            os.write(writing, bytes([code]))
        os.close(writing)

    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGHUP)  # PR_SET_PDEATHSIG: without the parent, the terminal is not ours
    code = 1
    try:
        code = main(leave)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def close_terminal() -> None:
    """From now on nothing is read from the terminal or written to it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


def _wait(child: int, reading: int) -> Left | int:
    """How the child left, or the status it ended with. Signals that reach us are meant for it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)  # from the keyboard: the child gets them too
    signal.signal(signal.SIGTERM, lambda number, frame: _pass_on(child, number))
    while True:
        ready, _, _ = select.select([reading], [], [], _INTERVAL)
        if ready:
            left_with = os.read(reading, 1)
            return Left(left_with[0]) if left_with else os.waitpid(child, 0)[1]
        ended, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if ended and os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)  # the shell sees that we stopped; it wakes us, and we the child
            _pass_on(child, signal.SIGCONT)
        elif ended:
            return status


def _terminal_modes() -> list[Any] | None:
    import termios

    try:
        return termios.tcgetattr(0)
    except (OSError, termios.error):
        return None


def _take_back_terminal(modes: list[Any] | None, number: int) -> None:
    """The child was killed and could not restore the terminal."""
    import termios

    from qairt.cli.failures import tell_error

    if modes is not None:
        with suppress(OSError, termios.error):
            termios.tcsetattr(0, termios.TCSAFLUSH, modes)
            os.write(1, _PLAIN)
    name = signal.Signals(number).name
    tell_error(f"the screen was ended by {name}", remedy="finished items are kept: the same command goes on from there")


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)
