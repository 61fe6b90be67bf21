"""Memory that was let go of, given back to the system.

The C library keeps what tensors of some megabytes left, in pieces that the next ones do not fit into: a process then
holds twice what it uses. Other C libraries than glibc have no such call, and need none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Takes milliseconds."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_size_t]
    return found
