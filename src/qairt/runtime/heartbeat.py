"""A sign of life from work that reports nothing itself for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from qairt.amounts import about, duration
from qairt.notify import Notify

FIRST_PAUSE_S, MAX_PAUSE_S = 15.0, 120.0
"""Seconds until the first line; each pause after it is twice as long, up to the second number."""


@contextmanager
def heartbeat(what: str, expected_s: float, notify: Notify) -> Iterator[None]:
    """Report `WHAT: 45.0 s of about 2 min 00 s` from time to time while inside."""
    done = threading.Event()

    def report() -> None:
        start, pause = time.perf_counter(), FIRST_PAUSE_S
        while not done.wait(pause):
            notify(f"{what}: {duration(time.perf_counter() - start)} of about {about(expected_s)}")
            pause = min(pause * 2, MAX_PAUSE_S)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
