"""Fetching the files of one entry: each once, streamed to disk, and used only if its size and SHA-256 are right."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from qairt.engine.cache.blobs import Blobs
from qairt.engine.cache.entry import StoredFile
from qairt.engine.shared_store.objects import Missing, Objects, Unavailable
from qairt.engine.shared_store.patience import Limits
from qairt.engine.shared_store.stored import content_name

_POLL = 0.2  # seconds between two looks at a content that another fetch brings

Locks = defaultdict[str, threading.Lock]
"""By digest: items that run side by side often have files in common."""


class WrongBytes(Exception):  # noqa: N818 - reads as what happened
    """The store's bytes are not what their name says."""


class ContentGone(Missing):
    """A content that an entry names is not in the store."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class _Abandoned(Exception):  # noqa: N818 - it is not an error
    """Nobody waits for it any more."""


class Fetch:
    """Files on their way, such as those of one entry.

    Args:
        files: by name.
        folder: empty; gets the files.
        blobs: what is here is not sent again, and what came stays, also if the rest does not.
    """

    def __init__(
        self, objects: Objects, files: Mapping[str, StoredFile], folder: Path, blobs: Blobs, locks: Locks
    ) -> None:
        self._objects, self._files, self._folder, self._blobs, self._locks = objects, files, folder, blobs, locks
        self._bytes = sum(file["size"] for file in files.values())
        self._abandoned = threading.Event()
        self._moved = time.monotonic()
        self.here = 0
        """Bytes that are in place."""
        self.received = 0
        """Bytes that the store sent."""

    def run(self) -> None:
        """Bring every file.

        Raises:
            ContentGone, WrongBytes: the entry is of no use.
            Unavailable: the store failed.
            OSError: this machine's disk.
        """
        for name, file in self._files.items():
            target = self._folder / name
            lock = self._locks[file["sha256"]]
            while not lock.acquire(timeout=_POLL):
                self._moved = time.monotonic()  # another one fetches it
                self._go_on()
            try:
                self._go_on()
                target.parent.mkdir(parents=True, exist_ok=True)
                if self._blobs.adopt(file["sha256"], target):
                    self.here += file["size"]
                else:
                    self._receive(target, file["size"], file["sha256"])
                    self._blobs.keep(target, file["sha256"])
            finally:
                lock.release()

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self._abandoned.set()

    def watch(self, limits: Limits, seconds: float, began: float) -> None:
        """Check that it is getting on.

        Args:
            seconds: it may take.

        Raises:
            Unavailable: it is not.
        """
        now = time.monotonic()
        if now - self._moved > limits.silent:
            raise Unavailable(f"it sent next to nothing for {limits.silent:g} s")
        elapsed = now - began
        expected = elapsed * self._bytes / self.here if self.here else elapsed
        if elapsed > limits.judged and expected > seconds:
            raise Unavailable(f"it is slow: {self.received / elapsed / 1e6:.1f} MB/s")

    def _receive(self, target: Path, size: int, digest: str) -> None:
        hasher, received = hashlib.sha256(), 0
        try:
            with target.open("wb") as file:
                for piece in self._objects.stream(content_name(digest)):
                    self._go_on()
                    received += len(piece)
                    if received > size:
                        raise WrongBytes
                    hasher.update(piece)
                    file.write(piece)
                    self._moved = time.monotonic()
                    self.here += len(piece)
                    self.received += len(piece)
                file.flush()
                os.fsync(file.fileno())
        except Missing:
            raise ContentGone(digest) from None
        if received != size or hasher.hexdigest() != digest:
            raise WrongBytes

    def _go_on(self) -> None:
        if self._abandoned.is_set():
            raise _Abandoned


def seconds_allowed(limits: Limits, building: float) -> float:
    """How long a fetch may take, of an item that would be built in `building` seconds."""
    return max(limits.fetch, 3 * building)


Check = Callable[[], None]
"""Called repeatedly during a wait; an exception from it ends the wait."""
