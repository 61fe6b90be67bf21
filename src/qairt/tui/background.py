"""Slow work in a thread, with its result handled back on the app's own thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from textual.app import App
from textual.worker import Worker, WorkerState

from qairt.errors import QairtError

_GROUP = "background"

T = TypeVar("T")


class BackgroundWork:
    """Runs jobs in threads of the app, which must pass worker changes to `worker_changed`."""

    def __init__(self, app: App[int]) -> None:
        self._app = app

    def run(self, job: Callable[[], T], then: Callable[[T], None]) -> None:
        """Call `job` in a thread, then `then` with its result here. A `QairtError` becomes a notification."""
        work = partial(_with_result, job, then)
        # Textual describes a worker by the text of all that it holds, unless it is told: seconds for a large plan.
        self._app.run_worker(work, group=_GROUP, description=_GROUP, thread=True, exit_on_error=False)

    def worker_changed(self, worker: Worker[object]) -> BaseException | None:
        """Handle the end of a job; returns an error that is not for the user."""
        if worker.state is WorkerState.ERROR:
            if not isinstance(worker.error, QairtError):
                return worker.error
            self._app.notify(str(worker.error), severity="error", markup=False, timeout=10)
        elif worker.state is WorkerState.SUCCESS and worker.group == _GROUP and self._app.is_running:
            handle_result = worker.result
            assert callable(handle_result)
            handle_result()
        return None


def _with_result(job: Callable[[], T], then: Callable[[T], None]) -> Callable[[], None]:
    return partial(then, job())
