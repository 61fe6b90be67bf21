"""What a run's cache takes on its disk, and what is left there."""

from __future__ import annotations

import time
from pathlib import Path

from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.files import bytes_below
from qairt.machine import free_space

_EVERY = 10.0
"""Seconds between two looks at all files of the cache, which takes a tenth of a second for thousands of items."""


class DiskWatch:
    """Looks at a cache directory now and then.

    Args:
        limited: whether it may only take so much: its own bytes are counted then.
    """

    def __init__(self, cache_dir: Path, *, limited: bool) -> None:
        self._folder, self._limited = cache_dir / STATE_FOLDER, limited
        self._used: int | None = None
        self._looked = float("-inf")

    def look(self) -> tuple[int | None, int | None]:
        """Bytes of the cache directory where it has a limit, and bytes that are free on its disk."""
        if self._limited and time.monotonic() - self._looked >= _EVERY:
            self._looked = time.monotonic()
            self._used = bytes_below(self._folder)
        return self._used, free_space(self._folder)
