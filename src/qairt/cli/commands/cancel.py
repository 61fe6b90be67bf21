"""`qairt cancel`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qairt.cli.console import emit, emit_json
from qairt.cli.find_run import RunSelection
from qairt.cli.options import CacheDir, Json, Yes
from qairt.errors import CacheError, RecipeError

if TYPE_CHECKING:
    from qairt.engine.record.events import RequestAnswered
    from qairt.engine.record.folder import RunFolder

_TIMEOUT = 15.0  # seconds


def cancel(
    *,
    selection: RunSelection,
    cache_dir: CacheDir = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Cancel an active run.

    Finished items are kept; running the recipe again resumes there.

    \b
    Examples:
      qairt cancel
      qairt cancel 142 --yes
    """
    from qairt.cli.confirm import confirmed

    run = selection.find(cache_dir, live=True)
    if run.liveness() not in ("running", "unknown"):
        raise RecipeError(f"run {run.id} is not active", where=str(run.path), remedy="`qairt status` lists active runs")
    if not yes and not confirmed(f"Cancel run {run.id}? Finished items are kept."):
        return
    answer = _request_cancel(run)
    if as_json:
        emit_json({"run": run.id, "cancelled": answer.done, "message": answer.message})
    else:
        emit(f"run {run.id}: {answer.message}")


def _request_cancel(run: RunFolder) -> RequestAnswered:
    """Ask the run's process to cancel it, and wait for the answer.

    Raises:
        CacheError: it did not answer in time, or its process ended.
    """
    from qairt.engine.record.events import EventTail, RequestAnswered

    tail = EventTail(run.events)
    tail.read()
    request = run.request("cancel_run")
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        for event in tail.read():
            if isinstance(event, RequestAnswered) and event.request == request:
                return event
        if run.liveness() != "running":
            break
        time.sleep(0.1)
    raise CacheError(f"run {run.id} did not answer", where=str(run.path), remedy="`qairt status` shows its state")
