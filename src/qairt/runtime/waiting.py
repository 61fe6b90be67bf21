"""A sign of life from something that says nothing itself for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qairt.amounts import about, duration

FIRST_WORD_S, LONGEST_PAUSE_S = 15.0, 120.0
"""After how long it says that it goes on; then after twice as long each time, up to the second."""


@contextmanager
def said_while_waiting(what: str, expected_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """Say `WHAT: 45.0 s of about 2 min 00 s` now and then, while inside."""
    over = threading.Event()

    def tell() -> None:
        start, pause = time.perf_counter(), FIRST_WORD_S
        while not over.wait(pause):
            say(f"{what}: {duration(time.perf_counter() - start)} of about {about(expected_s)}")
            pause = min(pause * 2, LONGEST_PAUSE_S)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
