"""Making one item: under the lock of its key, in its own folder, and into the cache as a whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry, NewEntry
from qairt.engine.cache.manifest import PipelineManifest, item_record
from qairt.engine.libraries import made_with
from qairt.engine.plan.costs import Cost, CostHistory
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.plan.reads import files_read, items_read, stands_for
from qairt.engine.record import events as ev
from qairt.engine.run.bookkeeping import Bookkeeping
from qairt.engine.run.capacity import NO_WORKER_REMEDY, Place
from qairt.engine.run.executor import Executor, ItemLog, ReportUsage
from qairt.engine.run.inputs import ItemInputs
from qairt.engine.run.jobs import Job, import_path, module_folder
from qairt.engine.run.stop import Interrupted, Stop
from qairt.engine.run.stream import EventStream
from qairt.engine.run.usage import Usage
from qairt.engine.shared_store.builders import made_here
from qairt.errors import ItemFailed
from qairt.files import make_folder
from qairt.machine import this_host

_LOCK_POLL = 0.25  # seconds between attempts to get the lock of an item that another run is making
_GROWN = 1.25
"""A running item's usage is sent again when its memory has grown by this factor."""
_SHORT_S = 1.0
"""An item that takes less sends its usage only when it ends."""


class ItemRunner:
    """Makes the items of one run and records what they cost."""

    def __init__(
        self,
        cache: StageCache,
        manifest: PipelineManifest,
        inputs: ItemInputs,
        stream: EventStream,
        executor: Executor,
        bookkeeping: Bookkeeping,
    ) -> None:
        self._cache, self._manifest, self._inputs = cache, manifest, inputs
        self._stream, self._executor = stream, executor
        self._bookkeeping = bookkeeping
        self._costs = CostHistory(cache.cache_dir)
        self._usage: dict[str, Usage] = {}

    @contextmanager
    def locked(self, item: PlannedItem, stop: Stop) -> Iterator[None]:
        """Hold the lock of the item's key; waits while another run is making the same item.

        Raises:
            Interrupted: `stop` was set while it waited.
        """
        locks = self._cache.cache_dir / "locks"
        make_folder(locks)
        lock = FileLock(locks / f"{item.key[:16]}.lock")
        waiting = False
        while True:
            try:
                lock.acquire(timeout=_LOCK_POLL if waiting else 0)
                break
            except Timeout:
                if stop.is_set():
                    raise Interrupted from None
                if not waiting:
                    self._stream.emit(ev.ItemShared(stage=item.stage.name, label=item.label))
                    waiting = True
        try:
            yield
        finally:
            lock.release()

    def run(self, item: PlannedItem, place: Place, computed: Callable[[], None], log: Path, stop: Stop) -> None:
        """Make the item and publish its entry.

        Args:
            computed: called when the result only has to be stored.

        Raises:
            ItemFailed: its job failed, or a file that it reads has changed since the run began.
            CacheError: its inputs are gone, or its result cannot be stored.
            Interrupted: `stop` was set.
        """
        if place.refusal:
            raise ItemFailed(place.refusal, stage=item.stage.name, label=item.label, remedy=NO_WORKER_REMEDY)
        sources = self._inputs.entries(item)
        with self._cache.linking(sources):
            self._inputs.require_unchanged_files(item, log)
            try:
                entry, seconds = self._make(item, sources, place, computed, log, stop)
            except ItemFailed as error:
                self._cache.retire_if_damaged(sources, Path(error.where or ""))
                raise
        item.entry = entry
        self._record(item, entry, seconds, place)

    def _make(
        self,
        item: PlannedItem,
        sources: list[Entry],
        place: Place,
        computed: Callable[[], None],
        log: Path,
        stop: Stop,
    ) -> tuple[Entry, float]:
        """The item's new entry, and the seconds it took."""
        stage = item.stage
        resume = self._cache.resume_directory(stage.name, item.key)
        started = time.time()
        with self._cache.making(stage.name, item.key) as work, self._inputs.reading(item):
            job = Job(
                stage=import_path(type(stage)),
                module_folder=module_folder(type(stage)),
                imports=stage.imported_ahead,
                config=item.config.model_dump(mode="json", exclude={"overrides"}),
                task=item.task,
                inputs=[(source.coord, self._inputs.fields(stage, source)) for source in item.sources],
                digests={path: digest for entry in sources for path, digest in entry.paths().items()},
                directory=work,
                resume=resume,
                shared=self._cache.shared_directory(stage.name),
                threads=place.threads,
                folders=[read.entry.directory for read in items_read(item) if read.entry is not None],
            )
            self._stream.emit(
                ev.ItemStarted(
                    stage=stage.name,
                    label=item.label,
                    key=item.key,
                    reason=item.reason,
                    log=str(log),
                    threads=place.threads,
                    host=place.host,
                )
            )

            def progress(fraction: float, message: str) -> None:
                self._stream.emit(
                    ev.ItemProgress(stage=stage.name, label=item.label, fraction=fraction, message=message)
                )

            recorded = self._recording_usage(item, started)
            self._executor.run(job, ItemLog(stage.name, item.label, log, place.worker), progress, stop, recorded)
            computed()
            self._inputs.require_unchanged_files(item, log)
            seconds = time.time() - started
            peak = self._usage.get(item.name, Usage()).peak_rss
            new = _new_entry(item, seconds, peak, place)
            entry = self._cache.publish(work, new, wait=self._until_unread(item, stop))
            shutil.rmtree(resume, ignore_errors=True)
            return entry, seconds

    def _recording_usage(self, item: PlannedItem, started: float) -> ReportUsage:
        told = 0

        def record(usage: Usage) -> None:
            nonlocal told
            self._usage[item.name] = usage
            if usage.peak_rss >= _GROWN * max(told, 1) and time.time() - started >= _SHORT_S:
                told, cpu = usage.peak_rss, usage.cpu_seconds
                self._stream.emit(ev.ItemUsage(stage=item.stage.name, label=item.label, peak_rss=told, cpu_seconds=cpu))

        return record

    def _until_unread(self, item: PlannedItem, stop: Stop) -> Callable[[], None]:
        """What is called while the result is ready, but items of other runs still read the one that it replaces."""
        told = False

        def wait() -> None:
            nonlocal told
            if stop.is_set():
                raise Interrupted
            if not told:
                message = f"{item.name} is rebuilt; it replaces the current result once other runs have read that"
                self._stream.emit(ev.LogLine(level="info", message=message))
            told = True

        return wait

    def take_usage(self, item: PlannedItem) -> Usage:
        """What the item's process used, as far as known; forgotten here."""
        return self._usage.pop(item.name, Usage())

    def remember_memory(self, item: PlannedItem, usage: Usage, place: Place) -> None:
        """Memory ran out for an item that used this much: from now on it is expected to need it."""
        self._record_cost(item, usage, place, seconds=0.0, size=0, out_of_memory=True)

    def _record(self, item: PlannedItem, entry: Entry, seconds: float, place: Place) -> None:
        usage = self.take_usage(item)
        cost = self._record_cost(item, usage, place, seconds=seconds, size=entry.new_bytes)
        made = item_record(entry)
        self._bookkeeping.write("manifest", lambda: self._manifest.update_item(item.stage.name, item.label, made))
        self._stream.emit(
            ev.ItemFinished(
                stage=item.stage.name,
                label=item.label,
                key=item.key,
                seconds=cost.seconds,
                bytes=entry.new_bytes,
                size=entry.bytes,
                directory=str(entry.directory),
                **usage.model_dump(),
            )
        )

    def _record_cost(
        self, item: PlannedItem, usage: Usage, place: Place, *, seconds: float, size: int, out_of_memory: bool = False
    ) -> Cost:
        cost = Cost(
            stage=item.stage.name,
            label=item.label,
            key=item.key,
            seconds=round(seconds, 3),
            peak_rss=usage.peak_rss,
            bytes=size,
            time=time.time(),
            host=place.host or this_host(),
            tools=item.tools,
            size=item.size,
            estimate=item.task.estimate.seconds,
            out_of_memory=out_of_memory,
        )
        self._bookkeeping.write("what items cost is not recorded", lambda: self._costs.add(cost))
        return cost


def _new_entry(item: PlannedItem, seconds: float, peak_rss: int, place: Place) -> NewEntry:
    made_by = made_here(item.stage.computed_with, item.tools)
    return NewEntry(
        key=item.key,
        stage=item.stage.name,
        label=item.label,
        inputs=item.inputs,
        seconds=seconds,
        peak_rss=peak_rss,
        made_from={source.name: source.key for source in item.sources},
        made_with=made_with(item.stage.computed_with),
        read=files_read(item),
        stands_for=stands_for(item),
        made_by={**made_by, "host": place.host} if place.host else made_by,
    )
