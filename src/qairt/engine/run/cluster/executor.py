"""Items on the workers of a cluster; those that read the user's own files are made on this machine."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.amounts import size
from qairt.engine.plan.disk import DiskLimit
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.tool_lines import last_lines
from qairt.engine.run.capacity import Capacity, Computing, MachineCapacity, Place
from qairt.engine.run.cluster.cluster import Call, Cluster, Worker
from qairt.engine.run.cluster.dask_package import require_distributed
from qairt.engine.run.cluster.packed import PackedJob, WorkerAnswer, pack
from qairt.engine.run.cluster.transfer import Damaged, Transfer
from qairt.engine.run.executor import ItemLog, ProcessExecutor, ReportUsage, Stays
from qairt.engine.run.jobs import Job
from qairt.engine.run.options import RunOptions
from qairt.engine.run.stop import Interrupted, Stop, TryAgain
from qairt.engine.run.usage import Usage
from qairt.engine.shared_store.objects import Unavailable
from qairt.engine.shared_store.settings import VARIABLE
from qairt.engine.stage import Progress
from qairt.errors import ItemFailed, QairtError, RecipeError
from qairt.files import read_text
from qairt.machine import available_cores

if TYPE_CHECKING:
    from qairt.engine.cache.cache import StageCache
    from qairt.engine.run.cluster.cluster import Changed, Notify
    from qairt.engine.shared_store.shared_store import SharedStore

_POLL = 0.05  # seconds
_MOST_BLAMES, _MOST_TRIES = 4, 20
"""Workers that may go away under an item before it is the item's fault; times that it is tried whatever ended it."""
_MOST_DAMAGES = 10
"""Times that the store may lose or spoil files of one item."""
_STORE_S = 180.0
"""For which the store may be away before the items that wait for it fail."""
_LOOK_S = 1.2
"""Before an item is tried again that was given back: by then it is known whether its worker is gone."""
_PAUSE_S = 2.0
"""Before an item is tried again whose store was away."""
_SUITABLE_S = 10.0
"""For which a worker that can hold an item may still come, where those that are there cannot."""


class ClusterExecutor:
    """Makes items on workers, and brings what they made.

    Args:
        scheduler: its address.
        store: through which data goes.
    """

    def __init__(
        self, scheduler: str, store: SharedStore | None, cache: StageCache, notify: Notify, changed: Changed
    ) -> None:
        self._scheduler, self._store, self._cache = scheduler, store, cache
        self._notify, self._changed = notify, changed
        self._cluster: Cluster
        self._transfer: Transfer
        self._here = ProcessExecutor(forks=True)
        self._tries: Counter[Path] = Counter()
        self._blames: Counter[Path] = Counter()
        """How often each item was given back, by its log; and how often when its worker alone went away."""
        self._damages: Counter[Path] = Counter()
        self._damaged: dict[Path, list[str]] = {}
        """What the store lost or spoiled of an item, which is sent anew."""
        self._store_away: float | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connect.

        Raises:
            RecipeError: what this needs is missing: the package, or a store that takes results.
            QairtError: no scheduler answers, or none of its workers can be used.
        """
        store = self._store
        require_distributed("--executor dask")
        if store is None or not store.settings.writes:
            raise RecipeError(
                "the machines of a cluster exchange data through a shared store, and none that can be written is set",
                where=VARIABLE,
                remedy="name one that all of them reach: `store: {url: s3://bucket/folder, mode: read-write}`",
            )
        self._transfer = Transfer(store.settings, self._cache.cache_dir, self._cache.blobs)
        cluster = self._cluster = Cluster(self._scheduler, self._notify, self._changed)
        if cluster.refused and not cluster.workers:
            reasons = "; ".join(f"{address}: {why}" for address, why in cluster.refused.items())
            cluster.close()
            raise QairtError(
                f"none of its workers can be used: {reasons}",
                where=self._scheduler,
                remedy="install the same versions there, see constraints.txt",
            )
        if not cluster.workers:
            self._notify(f"{self._scheduler} has no workers yet: the run waits for them (`qairt worker --help`)")

    def capacity(self, options: RunOptions, disk: DiskLimit | None, stays: Stays) -> Capacity:
        here = MachineCapacity(options.jobs, options.ram, available_cores(), disk)
        return ClusterCapacity(here, self._cluster, stays)

    def run(self, job: Job, item: ItemLog, progress: Progress, stop: Stop, report_usage: ReportUsage) -> None:
        if not item.worker:
            self._here.run(job, item, progress, stop, report_usage)
            return

        def check() -> None:
            if stop.is_set():
                raise Interrupted

        item.log.parent.mkdir(parents=True, exist_ok=True)
        item.log.touch()
        packed, contents = pack(job, item.stage, item.label, self._transfer.settings)
        packed.suspect = self._damaged.pop(item.log, [])
        host = self._cluster.host(item.worker)
        try:
            self._transfer.send(contents, check)
            answer = self._answer(packed, item, progress, stop, report_usage)
            if answer.log != read_text(item.log):
                item.log.write_text(answer.log, encoding="utf-8")  # some of it may not have come while it was made
            report_usage(answer.usage)
            if answer.unavailable:
                raise Unavailable(f"{answer.unavailable}, on {host}")
            if answer.damaged:
                raise Damaged(answer.damaged)
            if answer.error is not None:
                raise _failed(answer, item, host)
            self._transfer.bring(answer.files, job.directory, check)
        except Damaged as error:
            self._transfer.suspect([*error.digests, *contents])  # whatever spoiled one of them may have met others
            self._damaged[item.log] = error.digests
            raise self._damaged_again(item) from error
        except Unavailable as error:
            raise self._store_failed(error, item, stop) from error
        self._store_away = None

    def close(self) -> None:
        self._here.close()
        self._cluster.close()

    def _answer(
        self, packed: PackedJob, item: ItemLog, progress: Progress, stop: Stop, report_usage: ReportUsage
    ) -> WorkerAnswer:
        try:
            call = self._cluster.submit(item.worker, packed)
        except Exception as error:  # the scheduler has just gone away, as Dask puts it
            raise self._again(item, f"{type(error).__name__}: {error}", stop) from error
        try:
            while not call.future.done():
                _pass_on(call, item, progress, report_usage)
                if stop.is_set():
                    raise Interrupted
                if not self._cluster.has(item.worker):
                    # with all others gone too, it is the cluster that went away
                    raise self._again(item, "its worker went away", stop, blamed=bool(self._cluster.workers))
                time.sleep(_POLL)
            _pass_on(call, item, progress, report_usage)
            try:
                text = call.future.result(timeout=30)
            except Exception as error:  # cancelled, lost with its worker, or an error of Dask's
                raise self._again(item, f"{type(error).__name__}: {error}", stop) from error
            if not text:
                raise self._again(item, "its worker gave it back", stop)
            return WorkerAnswer.model_validate_json(text)
        finally:
            self._cluster.drop(call)

    def _damaged_again(self, item: ItemLog) -> Exception:
        """To be raised: what the store spoiled is sent anew, unless it keeps doing that."""
        with self._lock:
            self._damages[item.log] += 1
            damages = self._damages[item.log]
        if damages < _MOST_DAMAGES:
            return TryAgain("the store lost or spoiled files")
        return ItemFailed(
            f"the store {self._transfer.settings.url} lost or spoiled its files {damages} times",
            stage=item.stage,
            label=item.label,
            remedy="check the store: something deletes or changes its files",
        )

    def _again(self, item: ItemLog, why: str, stop: Stop, *, blamed: bool = False) -> Exception:
        """To be raised, after a pause in which it shows who is still there: the item waits for another worker, unless
        it has been tried too often.

        Args:
            blamed: it may be the item that takes workers down.
        """
        with self._lock:
            self._tries[item.log] += 1
            self._blames[item.log] += blamed
            tries, blames = self._tries[item.log], self._blames[item.log]
        if blames < _MOST_BLAMES and tries < _MOST_TRIES:
            return _after(_LOOK_S, stop, TryAgain(why))
        return ItemFailed(
            f"it was tried on {tries} workers; at last: {why}",
            stage=item.stage,
            label=item.label,
            remedy="it may crash its workers: check how much memory it needs, or build it here with --executor process",
            log_tail=last_lines(item.log),
        )

    def _store_failed(self, error: Unavailable, item: ItemLog, stop: Stop) -> Exception:
        """To be raised: the item waits for the store, unless that has been away for too long."""
        now = time.monotonic()
        with self._lock:
            self._store_away = self._store_away or now
            away = now - self._store_away
        if away >= _STORE_S:
            return ItemFailed(
                f"the store {self._transfer.settings.url} cannot be used: {error}",
                stage=item.stage,
                label=item.label,
                remedy="data between machines goes through it; finished items are kept, so run again when it is back",
            )
        return _after(_PAUSE_S, stop, TryAgain(str(error)))


class ClusterCapacity:
    """This machine for the items that stay, and workers for the others.

    Args:
        here: of this machine.
        stays: whether an item is made on this machine.
    """

    grows = True

    def __init__(self, here: MachineCapacity, cluster: Cluster, stays: Stays) -> None:
        self._here, self._cluster, self._stays = here, cluster, stays
        self.disk = here.disk
        self._unsuitable: dict[str, float] = {}
        """Since when no worker could hold an item."""

    @property
    def jobs(self) -> int:
        return max(self._here.jobs, sum(worker.jobs for worker in self._cluster.workers))

    def is_full(self, computing: Collection[Computing]) -> bool:
        return self._here.is_full(_on("", computing)) and all(
            _capacity(worker).is_full(_on(worker.address, computing)) for worker in self._cluster.workers
        )

    def find(
        self, item: PlannedItem, computing: Collection[Computing], *, alone: bool, contenders: int
    ) -> Place | None:
        if item.stored is not None or self._stays(item):
            return self._here.find(item, _on("", computing), alone=alone, contenders=contenders)
        workers = self._cluster.workers
        able = [worker for worker in workers if item.peak_ram <= worker.memory]
        if workers and not able:
            return self._refusal(item, workers)
        self._unsuitable.pop(item.name, None)
        each = -(-contenders // max(1, len(workers)))
        for worker in sorted(able, key=lambda worker: len(_on(worker.address, computing))):
            beside = _on(worker.address, computing)
            place = _capacity(worker).find(item, beside, alone=alone, contenders=each)
            if place is not None:
                return Place(place.threads, worker.address, worker.about.host)
        return None

    def _refusal(self, item: PlannedItem, workers: Collection[Worker]) -> Place | None:
        since = self._unsuitable.setdefault(item.name, time.monotonic())
        if time.monotonic() - since < _SUITABLE_S:
            return None
        largest = max(workers, key=lambda worker: worker.memory)
        what = f"it needs {size(item.peak_ram)} of RAM, and the largest worker, {largest.about.host}, has"
        return Place(1, refusal=f"{what} {size(largest.memory)}")


def _after(seconds: float, stop: Stop, error: Exception) -> Exception:
    """`error` after a pause; `Interrupted` where the item is stopped meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop.is_set():
        time.sleep(_POLL)
    return Interrupted() if stop.is_set() else error


def _on(worker: str, computing: Collection[Computing]) -> list[Computing]:
    return [each for each in computing if each.place.worker == worker]


def _capacity(worker: Worker) -> MachineCapacity:
    return MachineCapacity(worker.jobs, worker.memory, worker.about.cores)


def _pass_on(call: Call, item: ItemLog, progress: Progress, report_usage: ReportUsage) -> None:
    """What the worker has told since the last time: into the log and the run's events."""
    for told in call.take_told():
        if "log" in told:
            with item.log.open("a", encoding="utf-8") as log:
                log.write(told["log"])
        elif "usage" in told:
            report_usage(Usage.model_validate(told["usage"]))
        else:
            progress(float(told["fraction"]), str(told["message"]))


def _failed(answer: WorkerAnswer, item: ItemLog, host: str) -> ItemFailed:
    assert answer.error is not None
    error = answer.error.as_error()
    failed = ItemFailed(
        f"on {host}: {error.what}",
        stage=item.stage,
        label=item.label,
        where=error.where,
        remedy=error.remedy,
        signal=answer.signal,
        log_tail=last_lines(item.log),
    )
    failed.out_of_memory = error.out_of_memory
    return failed
