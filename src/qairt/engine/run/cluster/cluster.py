"""A Dask cluster as a run uses it: which workers are there, and one task at a time on one of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qairt.engine.run.cluster.about import About, about_this_machine
from qairt.engine.run.cluster.dask_package import no_scheduler, silence_dask
from qairt.engine.run.cluster.on_worker import MISSING, asking, making

if TYPE_CHECKING:
    from distributed import Client, Future

    from qairt.engine.run.cluster.packed import PackedJob

Notify = Callable[[str], None]
"""Gets sentences that a user should know."""
Changed = Callable[[list["Worker"]], None]
"""Gets the workers that can make items, whenever one joins or leaves."""
_POLL = 1.0  # seconds between two looks at who is there
_ANSWER_S = 20.0
"""For a scheduler or a worker to answer."""


@dataclass(frozen=True)
class Worker:
    """A worker that can make items."""

    address: str
    about: About
    jobs: int
    memory: int
    """Bytes of RAM for its items."""


@dataclass
class Call:
    """A task on its way."""

    key: str
    future: Future[str]
    told: list[dict[str, Any]] = field(default_factory=list)
    """What it said and nobody has taken yet."""

    def take_told(self) -> list[dict[str, Any]]:
        told = self.told[:]
        del self.told[: len(told)]  # Dask's thread may be adding to it
        return told


class Cluster:
    """The connection to a scheduler; it is made again when it is lost.

    Args:
        address: of the scheduler.

    Raises:
        QairtError: nothing answers there.
    """

    def __init__(self, address: str, notify: Notify, changed: Changed) -> None:
        silence_dask()
        self._address, self._notify, self._changed = address, notify, changed
        self._topic = f"qairt-{uuid.uuid4().hex[:12]}"
        self._here = about_this_machine()
        self._calls: dict[str, Call] = {}
        self._workers: dict[str, Worker] = {}
        self._known: set[str] = set()
        """The addresses that `changed` got last."""
        self._refused: dict[str, str] = {}
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        try:
            self._client = self._connect()
        except (OSError, ValueError) as error:
            raise no_scheduler(address) from error
        self._look()
        self._watcher = threading.Thread(target=self._watch, name="cluster", daemon=True)
        self._watcher.start()

    @property
    def workers(self) -> list[Worker]:
        """Those that are there and can be used."""
        return list(self._workers.values())

    @property
    def refused(self) -> dict[str, str]:
        """Why others cannot, by address."""
        return dict(self._refused)

    def has(self, worker: str) -> bool:
        return worker in self._workers

    def host(self, worker: str) -> str:
        """The name of a worker's machine."""
        found = self._workers.get(worker)
        return worker if found is None else found.about.host

    def submit(self, worker: str, packed: PackedJob) -> Call:
        """Start making an item on a worker."""
        # A key is never used twice: one that was cancelled or has failed would fail at once.
        key = f"qairt-{packed.stage}-{packed.label}-{uuid.uuid4().hex[:12]}"
        with self._lock:
            future = self._client.submit(
                making(packed.model_dump_json(), self._topic),
                key=key,
                pure=False,
                workers=[worker],
                allow_other_workers=False,
                retries=0,
            )
            call = self._calls[key] = Call(key, future)
        return call

    def drop(self, call: Call) -> None:
        """Nobody waits for it any more; what it still does is ended on the worker."""
        self._calls.pop(call.key, None)
        with suppress(Exception):  # the scheduler may be gone, and the task with it
            call.future.cancel()

    def close(self) -> None:
        self._closing.set()
        self._watcher.join(_ANSWER_S)
        with suppress(Exception):  # it may be gone
            self._client.close(timeout=2)

    # Inside

    def _connect(self) -> Client:
        from distributed import Client

        client = Client(self._address, timeout=_ANSWER_S, set_as_default=False, name="qairt")
        client.subscribe_topic(self._topic, self._told)
        return client

    def _told(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        call = self._calls.get(str(message.get("task")))
        if call is not None:
            call.told.append(message)

    def _watch(self) -> None:
        away = f"the Dask scheduler {self._address} does not answer: the run waits for it"
        while not self._closing.wait(_POLL):
            try:
                if self._client.status in ("closed", "closing"):
                    with self._lock:
                        self._client = self._connect()
                self._look()
                self._said.discard(away)  # it is said each time
            except Exception:  # whatever Dask raises while its scheduler is away
                self._workers = {}
                self._tell_workers()
                self._say(away)

    def _look(self) -> None:
        if self._client.status != "running":
            raise OSError(self._client.status)
        found = self._client.scheduler_info(n_workers=-1)["workers"]
        for address in self._refused.keys() - found.keys():
            del self._refused[address]
        for address in self._workers.keys() - found.keys():
            worker = self._workers.pop(address)
            self._notify(f"the worker on {worker.about.host} is gone")
        for address, facts in found.items():
            if address not in self._workers and address not in self._refused:
                self._add(address, facts)
        self._tell_workers()

    def _tell_workers(self) -> None:
        if self._workers.keys() != self._known:
            self._known = set(self._workers)
            self._changed(self.workers)

    def _add(self, address: str, facts: dict[str, Any]) -> None:
        answer = self._client.run(asking(), workers=[address], on_error="return")[address]
        if not isinstance(answer, str):
            return  # it went away; the next look tells
        if answer == MISSING:
            self._refuse(address, "this version of qairt is not installed there")
            return
        about = About.model_validate_json(answer)
        if differs := about.differs_from(self._here):
            self._refuse(address, f"its versions differ: {differs}")
            return
        memory = min(int(facts["memory_limit"] or about.memory), about.memory)
        self._workers[address] = Worker(address, about, int(facts["nthreads"]), memory)

    def _refuse(self, address: str, why: str) -> None:
        self._refused[address] = why
        self._say(f"the worker {address} is not used: {why}")

    def _say(self, sentence: str) -> None:
        """Once."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._notify(sentence)
