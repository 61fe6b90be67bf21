"""Ctrl-C, SIGTERM and a closed terminal: end what runs, keep what is finished."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from qairt.cli.exit_codes import INTERRUPTED

_SECONDS_TO_END = 15.0


@contextmanager
def interruptible(stop: threading.Event, heeded: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """While inside, a signal sets `stop`, and raises KeyboardInterrupt where `stop` is not heeded.

    A third one gives up waiting: children are killed with this process.

    Args:
        heeded: what runs looks at `stop` by itself, and ends as it should.

    Raises:
        KeyboardInterrupt: it came while nothing was there to wait for; running items have been ended by then.
    """
    seen = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        stop.set()
        if seen > 2:
            _kill_children()
            os._exit(INTERRUPTED)
        if not heeded():
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        _wait_for_items()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_items() -> None:
    """Threads that run items see `stop` and end their children; daemons would be cut off before they can."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_SECONDS_TO_END)


def _kill_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
