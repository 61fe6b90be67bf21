"""Who reads an entry: a shared kernel lock for each key, which a replacement or a deletion waits for or respects."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qairt.files import lock, make_folder

_POLL = 0.1  # seconds between two attempts to replace an entry that is being read


class Readers:
    """The readers of a cache's entries, in all processes.

    Args:
        folder: of locks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def reading(self, keys: Iterable[str]) -> Iterator[None]:
        """Keep the entries of `keys` in place while inside. In a cache that cannot be written, nobody replaces them."""
        with ExitStack() as held:
            for key in sorted(set(keys)):
                handle = self._open(key)
                if handle is not None:
                    held.callback(os.close, handle)
                    lock(handle, shared=True)
            yield

    @contextmanager
    def excluded(self, key: str, wait: Callable[[], None] | None = None) -> Iterator[bool]:
        """Whether nobody reads the entry of `key`, while inside.

        Args:
            wait: called again and again while it is read; what it raises ends the waiting. Without it, nothing waits.
        """
        handle = self._open(key)
        if handle is None:
            yield True
            return
        try:
            free = lock(handle, wait=False)
            while not free and wait is not None:
                wait()
                time.sleep(_POLL)
                free = lock(handle, wait=False)
            yield free
        finally:
            os.close(handle)

    def _open(self, key: str) -> int | None:
        try:
            make_folder(self._folder)
            return os.open(self._folder / f"{key[:16]}.read", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
