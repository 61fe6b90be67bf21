"""Wait for a state instead of a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

SECONDS = 60.0
"""Default deadline. Generous: it is reached only by a test that fails."""


def until(
    condition: Callable[[], object],
    seconds: float = SECONDS,
    *,
    every: float = 0.02,
    describe: Callable[[], object] = lambda: "",
) -> float:
    """Wait until `condition()` is true; returns how many seconds that took.

    Args:
        condition: polled every `every` seconds, and a last time after the deadline.
        describe: what the failure reports, such as the state that was reached instead.

    Raises:
        AssertionError: still false after `seconds`.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited >= seconds:
            if condition():
                break
            raise AssertionError(f"not true after {seconds:g} s. {describe()}".strip())
        time.sleep(every)
    return time.monotonic() - began


def settled(measure: Callable[[], object], quiet: float, seconds: float = SECONDS, *, every: float = 0.02) -> float:
    """Wait until `measure()` has not changed for `quiet` seconds; returns the seconds until its last change."""
    began = changed = time.monotonic()
    last = measure()

    def is_quiet() -> bool:
        nonlocal last, changed
        now = measure()
        if now != last:
            last, changed = now, time.monotonic()
        return time.monotonic() - changed >= quiet

    until(is_quiet, seconds, every=every)
    return changed - began


async def until_async(
    condition: Callable[[], Awaitable[Any]],
    seconds: float = SECONDS,
    *,
    every: float = 0.1,
    describe: Callable[[], object] = lambda: "",
) -> Any:
    """The same for a coroutine; returns the true value that it gave.

    Raises:
        AssertionError: still false after `seconds`.
    """
    end = time.monotonic() + seconds
    while not (found := await condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not true after {seconds:g} s. {describe()}".strip())
        await asyncio.sleep(every)
    return found


def pass_time(seconds: float) -> None:
    """Let time pass where time itself is the subject: a load measured over it, a moment chosen by chance, slow work."""
    time.sleep(seconds)
