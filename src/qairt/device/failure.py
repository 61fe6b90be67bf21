"""A program that failed on a device, in words."""

from __future__ import annotations

import signal

from qairt.device.base import Finished

_LAST_LINES = 3
"""Of what a program wrote, in an error."""


def how_it_ended(finished: Finished) -> str:
    """`was ended by SIGSEGV`, `failed (6)`."""
    try:
        return f"was ended by {signal.Signals(finished.code - 128).name}"
    except ValueError:
        return f"failed ({finished.code})"


def last_words(log: str) -> str:
    """`: ` and the end of what a program wrote; empty when it wrote nothing."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return ": " + " / ".join(lines[-_LAST_LINES:]) if lines else ""


def remedy_for(finished: Finished, log: str) -> str:
    """What to do about it."""
    from qairt.toolchain.vendor_errors import explain

    if finished.code == 128 + signal.SIGKILL:
        return "the device ran out of memory: close what runs there, or compile for a shorter context"
    explained = explain(log.splitlines())
    if explained is not None:
        return f"{explained.error.cause}: {explained.error.remedy}"
    return (
        "most often runtime and binaries do not belong together: use an SDK at least as new as the compiler's, and a"
        " bundle of this run for this chip"
    )
