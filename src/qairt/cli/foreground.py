"""A program that can give the terminal back to the shell and keep running.

It runs in a child of the process that the shell started, and that process only waits. When the child detaches, the
parent exits, the shell takes the terminal back, and the child continues without one. The fork comes before anything
large is imported, so the parent costs next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from termios import _AttrReturn

_INTERVAL = 0.25  # seconds between checks whether the child was stopped (Ctrl-Z)

_RESET_TERMINAL = (
    b"\x1b[<u\x1b[?2026l\x1b[?2004l\x1b[?1004l\x1b[?1006l\x1b[?1015l\x1b[?1003l\x1b[?1000l"
    b"\x1b[?7h\x1b[?1049l\x1b[0m\x1b[?25h"
)
"""Undoes what a full screen sets: keys, paste, focus, mouse, wrapping, alternate screen, cursor."""

Leave = Callable[[int], None]
"""Called in the child with the exit code for the shell; afterwards there is no terminal."""


@dataclass(frozen=True)
class Detached:
    """The child gave the terminal back and keeps running."""

    code: int


def run_in_foreground(main: Callable[[Leave], int]) -> int:
    """Run `main` in a child; returns its exit code, or the one it detached with.

    Where a process cannot fork, `main` runs here, and detaching only closes the terminal.
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
    if isinstance(status, Detached):
        return status.code
    if os.WIFSIGNALED(status):
        _restore_terminal(modes, os.WTERMSIG(status))
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
    """Point standard input, output and error to nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


def _wait(child: int, reading: int) -> Detached | int:
    """Wait until the child detaches or ends; returns its wait status if it ended. Signals are passed on to it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)  # from the keyboard: the child gets them too
    signal.signal(signal.SIGTERM, lambda number, frame: _send(child, number))
    while True:
        ready, _, _ = select.select([reading], [], [], _INTERVAL)
        if ready:
            code = os.read(reading, 1)
            return Detached(code[0]) if code else os.waitpid(child, 0)[1]
        ended, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if ended and os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)  # the shell sees that we stopped; it wakes us, and we the child
            _send(child, signal.SIGCONT)
        elif ended:
            return status


def _terminal_modes() -> _AttrReturn | None:
    import termios

    try:
        return termios.tcgetattr(0)
    except (OSError, termios.error):
        return None


def _restore_terminal(modes: _AttrReturn | None, number: int) -> None:
    """Do what a killed child could not."""
    import termios

    from qairt.cli.failures import report_error

    if modes is not None:
        with suppress(OSError, termios.error):
            termios.tcsetattr(0, termios.TCSAFLUSH, modes)
            os.write(1, _RESET_TERMINAL)
    name = signal.Signals(number).name
    report_error(f"the screen was killed by {name}", remedy="finished items are kept: the same command resumes there")


def _send(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)
