"""Returns freed memory to the system.

glibc keeps the memory of freed tensors of some megabytes, in fragments that the next tensors do not fit into: a process
then holds twice what it uses. Other C libraries have no such call and do not need it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def release_free_memory() -> None:
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
