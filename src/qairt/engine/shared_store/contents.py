"""Contents of a shared store: the bytes of files, by digest."""

from __future__ import annotations

from functools import partial
from typing import BinaryIO

from qairt.engine.shared_store.objects import Objects
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.stored import content_name

_SLOWEST = 50_000
"""Bytes per second at which an upload is given up."""


def has_content(store: SharedStore, digest: str, size: int) -> bool:
    """Whether there is a content of this digest with so many bytes; they may still be others.

    Raises:
        Unavailable: the store failed.
    """
    return store.ask(partial(size_of, content_name(digest))) == size


def put_content(store: SharedStore, digest: str, size: int, file: BinaryIO) -> None:
    """Store what an open file of `size` bytes holds, in place of what is there.

    Raises:
        Unavailable: the store failed, or is too slow.
    """
    store.ask(partial(_put, content_name(digest), file), store.limits.fetch + size / _SLOWEST)


def size_of(name: str, objects: Objects) -> int | None:
    """Bytes of an object; None if there is none."""
    return objects.size(name)


def _put(name: str, file: BinaryIO, objects: Objects) -> None:
    objects.put(name, file)
