"""What Dask runs on a worker. The two functions travel by value: a worker without this package says so, and lives on.

(A function that Dask imports by name ends a worker that lacks its module.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.run.stop import Interrupted, Stop

if TYPE_CHECKING:
    from distributed import Worker

MISSING = "missing"
"""What a worker without this package answers."""


def asking() -> Callable[[], str]:
    """A function that returns what its machine says of itself, as JSON."""

    def ask() -> str:
        try:
            from qairt.engine.run.cluster.about import about_this_machine
        except ImportError:
            return MISSING
        return about_this_machine().model_dump_json()

    return ask


def making(packed: str, topic: str) -> Callable[[], str]:
    """A function that makes an item and returns its answer, as JSON."""

    def make() -> str:
        from qairt.engine.run.cluster.on_worker import make_here

        return make_here(packed, topic)

    return make


def make_here(packed: str, topic: str) -> str:
    """In a task: make the item in this worker's folder.

    Args:
        topic: events of Dask under which progress and log are told.
    """
    from distributed import get_worker

    from qairt.engine.run.cluster.making import workshop
    from qairt.engine.run.cluster.packed import PackedJob

    worker = get_worker()
    key = str(worker.get_current_task())
    folder = Path(worker.local_directory).parent / "qairt"
    job = PackedJob.model_validate_json(packed)
    try:
        answer = workshop(folder).make(
            job, lambda told: worker.log_event(topic, {**told, "task": key}), _Released(worker, key)
        )
    except Interrupted:
        return ""
    return answer.model_dump_json()


class _Released(Stop):
    """Set when nobody waits for the task any more: it was cancelled, or its client or the scheduler is gone."""

    def __init__(self, worker: Worker, key: str) -> None:
        super().__init__(threading.Event())
        self._worker, self._key = worker, key

    def is_set(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        closing = self._worker.status.name in ("closing", "closing_gracefully", "closed", "failed")
        return closing or task is None or task.state in ("cancelled", "resumed")
