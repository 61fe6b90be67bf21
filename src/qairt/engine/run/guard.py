"""The process between the engine and a worker, which is small, never busy, and leaves nothing running behind.

Processes that lose their parent become its children (on Linux), those in a session of their own too, so it finds all.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from qairt.child_process import ending_with_parent

_PR_SET_CHILD_SUBREAPER = 36


def guard(work: Callable[[], int]) -> int:
    """Run `work` in a child and wait for it; returns its exit code, or ends by the signal that ended it.

    Ends everything, itself too, when standard input is closed.
    """
    _adopt_orphans()
    end_with_guard = ending_with_parent()
    wake = wake_on_ended_children()
    worker = os.fork()
    if worker == 0:
        if end_with_guard is not None:
            end_with_guard()
        _forget_guard(wake)
        os._exit(work())
    status = _wait(worker, wake)
    _end_children()
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _wait(worker: int, wake: int) -> int:
    """The worker's wait status."""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 512)
            while (ended := _ended_child()) is not None:
                if ended[0] == worker:
                    return ended[1]
        if 0 in ready and not os.read(0, 1):
            _end_children()
            os.killpg(0, signal.SIGKILL)


def _ended_child() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _end_children() -> None:
    """Kill the children, then those that they leave to this process, until there are none."""
    while children := _children():
        for child in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _children() -> list[int]:
    """None where the system does not list them: what is left is then ended with the group, by the engine."""
    with suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()]
    return []


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def wake_on_ended_children() -> int:
    """A pipe that becomes readable whenever a child ends."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return reading


def _forget_guard(wake: int) -> None:
    """In the worker: without the guard's signals and standard input."""
    os.close(signal.set_wakeup_fd(-1))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(wake)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _end_by(number: int) -> None:
    """End as the worker did, without a core of this process."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
