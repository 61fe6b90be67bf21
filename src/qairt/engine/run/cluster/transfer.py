"""Files on their way through a shared store, by digest: sent once, and taken only if they are right."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from qairt.engine.cache.blobs import Blobs
from qairt.engine.cache.entry import StoredFile
from qairt.engine.shared_store.contents import has_content, put_content
from qairt.engine.shared_store.fetch import ContentGone, Fetch, Locks, WrongBytes
from qairt.engine.shared_store.objects import Objects, Unavailable
from qairt.engine.shared_store.patience import PATIENT, watched
from qairt.engine.shared_store.settings import StoreSettings
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.files import open_regular

LIMITS = replace(PATIENT, away=1.0)
"""A store that failed is soon tried again: nothing goes on without it."""


class Damaged(Exception):  # noqa: N818 - reads as what happened
    """What the store has for these digests is missing or wrong."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(", ".join(digests))
        self.digests = digests


class Transfer:
    """Sends and fetches files; safe to use from several threads.

    Args:
        state_folder: of this machine's own records about the store.
        blobs: what is here is not fetched again.
    """

    def __init__(self, settings: StoreSettings, state_folder: Path, blobs: Blobs) -> None:
        self.settings = settings
        self._store = SharedStore(settings, state_folder, LIMITS)
        self._blobs = blobs
        self._locks: Locks = defaultdict(threading.Lock)
        self._sent: set[str] = set()
        self._suspect: set[str] = set()

    def send(self, contents: Mapping[str, Path], check: Callable[[], None]) -> None:
        """Make sure that the store has these files.

        Raises:
            Unavailable: the store failed.
            OSError: a file cannot be read.
        """
        for digest, path in contents.items():
            if digest in self._sent:
                continue
            check()
            size = path.stat().st_size
            if digest in self._suspect or not has_content(self._store, digest, size):
                with open_regular(path) as file:
                    put_content(self._store, digest, size, file)
                self._suspect.discard(digest)
            self._sent.add(digest)

    def ask_again(self, digests: Iterable[str]) -> None:
        """Whether the store has these is not known any more."""
        self._sent.difference_update(digests)

    def suspect(self, digests: Iterable[str]) -> None:
        """These are sent again, whatever the store says of them."""
        self._suspect.update(digests)
        self._sent -= self._suspect

    def bring(self, files: Mapping[str, StoredFile], folder: Path, check: Callable[[], None]) -> None:
        """Put these files into a folder.

        Args:
            check: what it raises ends the waiting.

        Raises:
            Damaged: what the store has is of no use.
            Unavailable: it failed.
            OSError: this machine's disk.
        """
        objects = self._store.ask(_same)
        fetch = Fetch(objects, files, folder, self._blobs, self._locks)
        began = time.monotonic()

        def go_on() -> None:
            check()
            fetch.watch(LIMITS, float("inf"), began)

        try:
            watched(fetch.run, go_on)
        except Unavailable as error:
            self._store.failed(error)
            raise
        except ContentGone as gone:
            raise Damaged([gone.digest]) from None
        except WrongBytes:
            raise Damaged([file["sha256"] for file in files.values()]) from None
        finally:
            fetch.abandon()


def _same(objects: Objects) -> Objects:
    return objects
