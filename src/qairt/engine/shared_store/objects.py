"""Objects by name, whatever keeps them: what a shared store needs of a folder or of a cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

CHUNK = 1 << 20
"""Bytes that are read or written at a time."""


class Missing(Exception):  # noqa: N818 - it is an answer
    """There is no such object."""


class Unavailable(Exception):  # noqa: N818 - reads as what happened
    """The store does not answer, refuses, or is full. The text says why in a few words, without any credentials."""


class Objects(Protocol):
    """Objects by name. What a killed writer leaves is never seen under a name.

    Raises:
        Missing: there is no object of that name.
        Unavailable: the store cannot be used.
    """

    def read(self, name: str) -> bytes:
        """A small object."""

    def stream(self, name: str) -> Iterator[bytes]:
        """A large object, piece by piece."""

    def size(self, name: str) -> int | None:
        """Its bytes; None if there is none."""

    def put(self, name: str, file: BinaryIO) -> None:
        """Store what an open file holds, in place of what is there."""

    def create(self, name: str, content: bytes) -> bool:
        """Store a small object unless there is one; returns whether it was stored."""

    def replace(self, name: str, content: bytes) -> None:
        """Store a small object in place of what is there."""

    def names(self, prefix: str) -> Iterator[str]:
        """The objects whose names begin with `prefix/`."""
