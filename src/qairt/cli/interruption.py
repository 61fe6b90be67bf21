"""Ctrl-C, SIGTERM and a closed terminal: end what runs, keep what is finished."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from qairt.cli.exit_codes import INTERRUPTED

_TIMEOUT = 15.0  # seconds for each thread to end


@contextmanager
def interruptible(stop: threading.Event, handles_stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Inside, a signal sets `stop`, and raises KeyboardInterrupt unless `stop` is handled.

    A third signal does not wait: children are killed with this process.

    Args:
        handles_stop: whether the running code polls `stop` and ends in order.

    Raises:
        KeyboardInterrupt: `stop` was not handled; running items have ended by then.
    """
    signals = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        stop.set()
        if signals > 2:
            _kill_children()
            os._exit(INTERRUPTED)
        if not handles_stop():
            raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        _join_threads()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _join_threads() -> None:
    """Wait for the threads that run items: they see `stop` and end their children, if they are given the time."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_TIMEOUT)


def _kill_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
