"""The shared store in a run: items are fetched instead of built, and what is built is added in the background."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qairt.amounts import duration, size
from qairt.engine.cache.entry import Entry
from qairt.engine.cache.manifest import item_record
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.plan.stored_items import look_up
from qairt.engine.record import events as ev
from qairt.engine.run.bookkeeping import Bookkeeping
from qairt.engine.run.fetching import fetch
from qairt.engine.run.setup import RunSetup
from qairt.engine.run.stop import Interrupted, Stop, TryAgain
from qairt.engine.run.stream import EventStream
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.uploads import Uploads

if TYPE_CHECKING:
    from qairt.engine.shared_store.stored import StoredEntry

_TOLD_EVERY = 0.5  # seconds between two events of one fetch


class Sharing:
    """The shared store in one run: what is fetched, what is added, what is told. Without a store it does nothing."""

    def __init__(self, setup: RunSetup, stream: EventStream, bookkeeping: Bookkeeping) -> None:
        self._store, self._cache, self._manifest = setup.planner.store, setup.planner.cache, setup.manifest
        self._stream, self._bookkeeping = stream, bookkeeping
        self._not_kept = setup.not_kept
        store = self._store
        self._uploads = Uploads(store, self._cache) if store is not None and store.settings.writes else None
        self._told: set[str] = set()

    def fetch(self, item: PlannedItem, stop: Stop) -> Entry | None:
        """The entry of an item that the store has, now in the cache; None if it has to be built.

        Raises:
            Interrupted: `stop` was set.
            TryAgain: it is built although the plan had it fetched, which may take more memory.
            CacheError: it cannot be stored here.
        """
        if self._store is None:
            return None
        planned = item.stored
        if planned is None:
            look_up(self._store, [item])
        entry = None if item.stored is None else self._fetched(self._store, item, item.stored, stop)
        self.tell()
        if entry is None:
            item.stored, item.bytes = None, item.expected.bytes
            if planned is not None:
                raise TryAgain
        return entry

    def add(self, item: PlannedItem) -> None:
        """Let other machines have a finished item, when there is time, unless nobody reuses or keeps it."""
        kept = item.stage.name not in self._not_kept and not item.never_reused
        if self._uploads is not None and item.entry is not None and kept:
            self._uploads.add(item.entry)

    def close(self, *, wait: bool) -> None:
        """The run is over: wait for uploads, within the limit, and say what is left of them."""
        if self._uploads is not None and self._store is not None:
            left = self._uploads.close(self._store.limits.leave if wait else 0.0)
            if left.entries:
                what = "1 result is" if left.entries == 1 else f"{left.entries} results are"
                message = (
                    f"{what} not in the store {self._store.url} yet ({size(left.bytes)}): "
                    "the next run goes on with it, or `qairt cache push`"
                )
                self._stream.emit(ev.LogLine(level="info", message=message))
        self.tell()

    def tell(self) -> None:
        """Emit what the store has to say, each sentence once."""
        for notice in self._store.notices() if self._store is not None else ():
            if notice not in self._told:
                self._told.add(notice)
                self._stream.emit(ev.LogLine(level="warning", message=notice))

    def _fetched(self, store: SharedStore, item: PlannedItem, stored: StoredEntry, stop: Stop) -> Entry | None:
        name, label = item.stage.name, item.label
        began, told = time.monotonic(), 0.0

        def progress(fraction: float) -> None:
            nonlocal told
            if time.monotonic() - told >= _TOLD_EVERY:
                told = time.monotonic()
                message = f"fetching {size(stored.bytes)} from the store"
                self._stream.emit(ev.ItemProgress(stage=name, label=label, fraction=fraction, message=message))

        def check() -> None:
            if stop.is_set():
                raise Interrupted

        entry = fetch(store, self._cache, item, stored, progress=progress, check=check)
        if entry is None:
            return None
        seconds = time.monotonic() - began
        made = item_record(entry)
        self._bookkeeping.write("manifest", lambda: self._manifest.update_item(name, label, made))
        message = f"{item.name} fetched: {size(stored.bytes)} in {duration(seconds)}, built by {stored.host}"
        self._stream.emit(ev.LogLine(level="info", message=message))
        return entry
