"""Adding entries to a shared store: contents first, then the record that names them, which never replaces a whole one.

Whatever ends in the middle, no record names bytes that are not there; what is there already is not sent again, so the
next attempt goes on where this one ended.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.shared_store.contents import has_content, put_content, size_of
from qairt.engine.shared_store.objects import Missing, Unavailable
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.stored import (
    StoredEntry,
    action_of,
    content_name,
    entry_name,
    parsed,
    rival_name,
    stored_of,
    written,
)

Pushed = Literal["stored", "there", "rival", "unknown sources", "gone", "released"]
"""released: files of it were let go; rival: the store keeps other bytes for the same action, and this record beside
them; unknown sources: an entry of an earlier version; gone: it is no longer in the cache, or damaged."""
_POLL = 0.2  # seconds


def push(store: SharedStore, cache: StageCache, entry: Entry) -> Pushed:
    """Add one entry.

    Raises:
        Unavailable: the store failed; what was sent of it is not sent again.
    """
    if entry.read is None:
        return "unknown sources"
    action = action_of(entry.key, entry.read)
    if not store.id:
        store.ask(lambda objects: None)  # opens it
    if store.memory.is_there(store.id, action):
        return "there"
    raw = store.ask(lambda objects: _read(objects.read, entry_name(action)))
    whole = cache.entry(entry.key)
    if whole is not None and not whole.is_whole:
        return "released"
    stored = stored_of(whole) if whole is not None else None
    if whole is None or stored is None or stored.action != action:
        return "gone"
    there = parsed(raw, action) if raw is not None else None
    result = _beside(store, stored, there) if there is not None else None
    if result is None:
        if not _put_contents(store, cache, stored, whole):
            return "gone"
        result = _put_record(store, stored, broken=raw is not None)
    store.forget(action)
    store.memory.found(store.id, action)
    return result


def _beside(store: SharedStore, ours: StoredEntry, there: StoredEntry) -> Pushed | None:
    """What becomes of ours beside the record that is there; None if that one is broken, and ours replaces it."""
    if any(map(store.is_suspect, there.contents())):
        return None
    contents = there.contents()
    seconds = store.limits.answer + len(contents)
    if not store.ask(lambda objects: all(size_of(content_name(d), objects) == n for d, n in contents.items()), seconds):
        return None
    if there.files == ours.files:
        return "there"
    store.ask(lambda objects: objects.create(rival_name(ours), written(ours)))
    return "rival"


def _put_contents(store: SharedStore, cache: StageCache, stored: StoredEntry, entry: Entry) -> bool:
    """Send what is not there; False if a file is not what it was any more."""
    for name, file in stored.files.items():
        digest, size = file["sha256"], file["size"]
        if not store.is_suspect(digest) and has_content(store, digest, size):
            continue
        opened = cache.opened(entry.directory / name, digest)
        if opened is None:
            return False
        with opened:
            put_content(store, digest, size, opened)
        store.memory.repaired(store.id, digest)
    return True


def _put_record(store: SharedStore, stored: StoredEntry, *, broken: bool) -> Pushed:
    """Add the record, or replace a broken one; another writer may have been faster."""
    name, content = entry_name(stored.action), written(stored)
    if not broken:
        if store.ask(lambda objects: objects.create(name, content)):
            return "stored"
        raw = store.ask(lambda objects: _read(objects.read, name))
        there = parsed(raw, stored.action) if raw is not None else None
        result = _beside(store, stored, there) if there is not None else None
        if result is not None:
            return result
    store.ask(lambda objects: objects.replace(name, content))
    return "stored"


def _read(read: Callable[[str], bytes], name: str) -> bytes | None:
    try:
        return read(name)
    except Missing:
        return None


@dataclass(frozen=True)
class Left:
    """What was not added."""

    entries: int
    bytes: int


class Uploads:
    """Adds entries in a thread of its own, one after another; only their names wait in memory. It delays nobody, and
    what it did not get to is found by the next run.
    """

    def __init__(self, store: SharedStore, cache: StageCache) -> None:
        self._store, self._cache = store, cache
        self._waiting: deque[Entry] = deque()
        self._wake, self._idle = threading.Event(), threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._starting = threading.Lock()
        self.pushed: dict[Pushed, int] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry when there is time."""
        self._waiting.append(entry)
        self._idle.clear()
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()
        self._wake.set()

    def close(self, seconds: float) -> Left:
        """Wait at most so long until everything is added; returns what was not."""
        deadline = time.monotonic() + seconds
        while self._waiting and self._thread.is_alive() and not self._store.is_away() and time.monotonic() < deadline:
            self._idle.wait(min(_POLL, max(deadline - time.monotonic(), 0.0)))
        self._closing.set()
        self._wake.set()
        left = list(self._waiting)
        return Left(len(left), sum(entry.bytes for entry in left))

    def _run(self) -> None:
        while not self._closing.is_set():
            if not self._waiting:
                self._idle.set()
                self._wake.wait()
                self._wake.clear()
                continue
            if self._store.is_away():
                self._closing.wait(_POLL)
                continue
            try:
                result = push(self._store, self._cache, self._waiting[0])
            except Unavailable:
                continue  # it is tried again when the store is back
            except Exception as error:  # nothing of it ends a run
                self._store.tell(
                    "upload", f"results are not added to the store {self._store.url}: {type(error).__name__}"
                )
                return
            self.pushed[result] = self.pushed.get(result, 0) + 1
            self._waiting.popleft()
