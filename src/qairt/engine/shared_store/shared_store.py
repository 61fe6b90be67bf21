"""The shared store as a cache directory uses it: asks, fetches and adds, and goes without it where it fails.

qairt-store.json          that this is a store, its format and its id
ac/{aa}/{action}          what was made: names of files, their digests, who built them (`stored`)
cas/{aa}/{sha256}         the bytes, each once
rivals/{action}/{sha256}  records of other bytes that were made for the same action; the first record stays in use
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from qairt.amounts import size
from qairt.engine.cache.blobs import Blobs
from qairt.engine.shared_store.builders import is_allowed
from qairt.engine.shared_store.fetch import Check, ContentGone, Fetch, Locks, WrongBytes, seconds_allowed
from qairt.engine.shared_store.memory import Memory
from qairt.engine.shared_store.objects import Missing, Objects, Unavailable
from qairt.engine.shared_store.open_objects import open_objects
from qairt.engine.shared_store.patience import PATIENT, Limits, all_within, watched, within
from qairt.engine.shared_store.settings import StoreSettings
from qairt.engine.shared_store.stored import FORMAT, MARKER, Marker, StoredEntry, entry_name, parsed
from qairt.machine import free_space

ResultT = TypeVar("ResultT")
_AT_ONCE = 32
"""Questions that are asked side by side."""
_MISS_S = 30.0
"""Seconds for which an action that is not there is not asked for again."""
_RATES = {"file": 400e6, "http": 50e6, "https": 50e6}
_RATE = 50e6
"""Bytes per second, until fetches were measured."""
_PER_ITEM = 0.1
"""Seconds that the smallest item takes."""
_LIES = 3
"""Wrong contents after which nothing is taken from a store any more."""


class SharedStore:
    """A store that several machines use; safe to use from several threads. Nothing it does ends a run.

    Args:
        state_folder: of the cache directory that uses it.
    """

    def __init__(self, settings: StoreSettings, state_folder: Path, limits: Limits = PATIENT) -> None:
        self.settings, self.limits = settings, limits
        self.memory = Memory(state_folder, settings.url)
        self.distrusted = False
        """It sent wrong bytes too often: nothing is taken from it any more, and what is built is stored again."""
        self._objects: Objects | None = None
        self._id = ""
        self._opening, self._lock = threading.Lock(), threading.Lock()
        self._away_until, self._away, self._why = 0.0, limits.away, ""
        self._found: dict[str, StoredEntry] = {}
        self._misses: dict[str, float] = {}
        self._locks: Locks = defaultdict(threading.Lock)
        self._notices: dict[str, str] = {}
        self._lies = 0

    # What it says

    @property
    def url(self) -> str:
        return self.settings.url

    def notices(self) -> list[str]:
        """A sentence for each kind of problem so far."""
        return list(self._notices.values())

    @property
    def id(self) -> str:
        """Of the store that was opened; empty before."""
        return self._id

    def is_away(self) -> bool:
        """Whether it failed, and is not to be tried again yet."""
        return time.monotonic() < self._away_until

    def expected_seconds(self, size: int) -> float:
        """How long fetching an item of so many bytes is expected to take."""
        return _PER_ITEM + size / (self.memory.rate or _RATES.get(self.settings.scheme, _RATE))

    # Asking

    def ask(self, work: Callable[[Objects], ResultT], seconds: float | None = None) -> ResultT:
        """The store's answer.

        Raises:
            Unavailable: there is none in time; the store is left alone for a while.
            Missing: there is no such object.
        """
        if self.is_away():
            raise Unavailable(self._why)
        try:
            objects = self._open()
            answer = within(self.limits.answer if seconds is None else seconds, lambda: work(objects))
        except Unavailable as error:
            self.failed(error)
            raise
        self._away = self.limits.away
        return answer

    def is_suspect(self, digest: str) -> bool:
        """Whether a content that is there may have wrong bytes."""
        return self.distrusted or self.memory.is_damaged(self._id, digest)

    def present(self, actions: Iterable[str]) -> set[str]:
        """Those actions that have an entry, whoever built it."""
        asked = list(actions)
        unknown = [action for action in asked if not self.memory.is_there(self._id, action)]
        sizes = self._ask_each([partial(_size_of, action) for action in unknown])
        absent = {action for action, size in zip(unknown, sizes, strict=True) if not isinstance(size, int) or size < 0}
        return set(asked) - absent

    def find(self, actions: Iterable[str]) -> dict[str, StoredEntry]:
        """The entries of those actions that are there and may be used. What cannot be asked counts as not there."""
        if self.distrusted:
            return {}
        actions = list(dict.fromkeys(actions))
        now = time.monotonic()
        unknown = [a for a in actions if a not in self._found and now - self._misses.get(a, -_MISS_S) >= _MISS_S]
        for action, answer in zip(unknown, self._ask_each([partial(self._read, a) for a in unknown]), strict=True):
            if isinstance(answer, StoredEntry):
                self._found[action] = answer
            elif answer == "":
                self._misses[action] = time.monotonic()
        return {action: self._found[action] for action in actions if action in self._found}

    def fetch(
        self,
        stored: StoredEntry,
        folder: Path,
        blobs: Blobs,
        *,
        building: float,
        progress: Callable[[float], None],
        check: Check,
    ) -> bool:
        """Bring the files of an entry; returns whether all are in place, byte for byte.

        Args:
            folder: empty; gets the files.
            building: seconds that building the item would take.
            progress: gets the fraction that is in place.
            check: what it raises ends the waiting.
        """
        if self.is_away() or self.distrusted:
            return False
        free = free_space(folder)
        if free is not None and free < stored.bytes:
            self.tell("disk", f"{self.url} has {size(stored.bytes)} for an item, and {size(free)} is free on this disk")
            return False
        began = time.monotonic()
        allowed = seconds_allowed(self.limits, building)
        fetch: Fetch | None = None

        def go_on() -> None:
            check()
            assert fetch is not None
            fetch.watch(self.limits, allowed, began)
            progress(min(fetch.here / stored.bytes, 1.0) if stored.bytes else 1.0)

        try:
            fetch = Fetch(self._open(), stored.files, folder, blobs, self._locks)
            watched(fetch.run, go_on)
        except Unavailable as error:
            self.failed(error)
            return False
        except ContentGone as gone:
            self._is_damaged(stored, [gone.digest])
            return False
        except WrongBytes:
            self._is_damaged(stored, stored.contents())  # whatever spoiled one of its files may have met others
            self._tell_of_lies(stored)
            return False
        except OSError as error:
            self.tell("disk", f"what {self.url} has cannot be kept here: {error.strerror or error}")
            return False
        finally:
            if fetch is not None:
                fetch.abandon()
        if fetch.received > 1 << 20:
            self.memory.measured(fetch.received, time.monotonic() - began)
        self._away = self.limits.away
        self.memory.found(self._id, stored.action)
        return True

    def forget(self, action: str) -> None:
        """What is known of an action is not so any more."""
        self._found.pop(action, None)
        self._misses.pop(action, None)
        self.memory.lost(self._id, action)

    # Failing

    def failed(self, error: Unavailable) -> None:
        """It failed: leave it alone for a while, and say so once."""
        with self._lock:
            if not self.is_away():
                self._away_until = time.monotonic() + self._away
                self._away *= 2
            self._why = str(error)
        self.tell("away", f"the store {self.url} cannot be used: {error}; going on without it")

    def tell(self, kind: str, sentence: str) -> None:
        """Note a problem, once for each kind."""
        self._notices.setdefault(kind, sentence)

    # Inside

    def _ask_each(self, questions: Sequence[Callable[[Objects], ResultT]]) -> list[ResultT | None]:
        """The answers, asked side by side; None for what the store did not answer."""
        unanswered: list[ResultT | None] = [None] * len(questions)
        if not questions or self.is_away():
            return unanswered
        try:
            objects = self._open()
        except Unavailable as error:
            self.failed(error)
            return unanswered
        seconds = self.limits.answer
        answers = all_within(seconds, [partial(question, objects) for question in questions], _AT_ONCE)
        failure = next((answer for answer in answers if isinstance(answer, Unavailable)), None)
        if failure is None and None in answers:
            failure = Unavailable(f"no answers within {seconds:g} s")
        if failure is not None:
            self.failed(failure)
        else:
            self._away = self.limits.away
        return [None if isinstance(answer, Unavailable) else answer for answer in answers]

    def _open(self) -> Objects:
        with self._opening:
            if self._objects is None:
                objects = within(self.limits.answer, lambda: open_objects(self.settings))
                self._id = within(self.limits.answer, lambda: self._identified(objects))
                self._objects = objects
            return self._objects

    def _identified(self, objects: Objects) -> str:
        """The id of the store behind these objects; made a store if this machine may write there."""
        try:
            raw = objects.read(MARKER)
        except Missing:
            if not self.settings.writes:
                raise Unavailable(
                    f"there is no {MARKER}: nothing has been stored there yet, or it is another place"
                ) from None
            objects.create(MARKER, Marker(format=FORMAT, id=uuid.uuid4().hex).model_dump_json().encode() + b"\n")
            try:
                raw = objects.read(MARKER)
            except Missing:
                raise Unavailable("it does not keep what is stored") from None
        try:
            marker = Marker.model_validate_json(raw)
        except ValidationError:
            raise Unavailable(f"its {MARKER} is damaged") from None
        if marker.format > FORMAT:
            raise Unavailable(f"a newer version of qairt made it (format {marker.format})")
        return marker.id

    def _read(self, action: str, objects: Objects) -> StoredEntry | str:
        """The entry of an action; empty where there is none that may be used."""
        try:
            stored = parsed(objects.read(entry_name(action)), action)
        except Missing:
            return ""
        if stored is None:
            self.tell("records", f"the store {self.url} has records that are damaged; those results are built here")
            return ""
        if not is_allowed(stored.made_by, self.settings.allow_from):
            self.tell("hosts", f"the store {self.url} has results of {stored.host}, which allow_from does not name")
            return ""
        return stored

    def _is_damaged(self, stored: StoredEntry, digests: Iterable[str]) -> None:
        for digest in digests:
            self.memory.damaged(self._id, digest)
        self.forget(stored.action)
        self._misses[stored.action] = time.monotonic()

    def _tell_of_lies(self, stored: StoredEntry) -> None:
        self._lies += 1
        self.tell(
            "lies",
            f"the store {self.url} sent wrong bytes for {stored.stage} {stored.label} ({size(stored.bytes)}): "
            "nothing of it is used, it is built here",
        )
        self.distrusted = self._lies >= _LIES


def _size_of(action: str, objects: Objects) -> int:
    """Of the entry of an action; -1 if there is none."""
    size = objects.size(entry_name(action))
    return -1 if size is None else size
