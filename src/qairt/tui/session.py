"""A run as a screen sees it: the same three methods, whether the run lives here, elsewhere, or is over.

All feed one `RunState`. Events come from another thread through a queue; `poll` folds them in on the screen's thread.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Literal, Protocol

from qairt.engine.record import events as ev
from qairt.engine.record.events import EventTail
from qairt.engine.record.folder import Action, RunFolder
from qairt.engine.record.state import RunState

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.run.options import RunOptions, RunResult
    from qairt.errors import QairtError

Kind = Literal["plan", "thread", "host", "replay"]

_INTERVAL = 0.25  # seconds between looks at a file of events
_LIVENESS = 1.0  # seconds between looks at whether its process lives


class EngineSession(Protocol):
    """What screens need of a run."""

    kind: Kind
    state: RunState
    readonly: bool
    """Nothing can be asked of it."""

    @property
    def folder(self) -> RunFolder | None:
        """Where the run keeps its files; None before it has begun."""

    @property
    def pending(self) -> dict[str, str]:
        """Requests that were not answered yet: id -> action."""

    def poll(self) -> list[ev.Event]:
        """Fold in what happened since the last call, and return it."""

    def request(self, action: Action, stage: str = "", label: str = "") -> None:
        """Ask something of the run; its answer comes as an event.

        Raises:
            QairtError: it cannot be asked.
        """

    def close(self) -> None:
        """Look no more. The run is not touched."""


class _Queued:
    """What all sessions share: a queue of events, and requests by files in the run's folder."""

    kind: Kind

    def __init__(self, state: RunState, *, readonly: bool) -> None:
        self.state = state
        self.readonly = readonly
        self._events: queue.SimpleQueue[list[ev.Event]] = queue.SimpleQueue()
        self._pending: dict[str, str] = {}

    @property
    def folder(self) -> RunFolder | None:
        return None

    @property
    def pending(self) -> dict[str, str]:
        return dict(self._pending)

    def poll(self) -> list[ev.Event]:
        found: list[ev.Event] = []
        while True:
            try:
                found += self._events.get_nowait()
            except queue.Empty:
                break
        for event in found:
            if isinstance(event, ev.RunStarted):
                self.state = RunState()
            self.state.apply(event)
            if isinstance(event, ev.RequestAnswered):
                self._pending.pop(event.request, None)
        return found

    def request(self, action: Action, stage: str = "", label: str = "") -> None:
        if self.readonly or self.folder is None:
            return
        self._pending[self.folder.ask(action, stage, label)] = action

    def close(self) -> None:
        pass


class PlanSession(_Queued):
    """No run yet: the state of a plan."""

    kind: Kind = "plan"

    def __init__(self, state: RunState) -> None:
        super().__init__(state, readonly=True)


class ThreadSession(_Queued):
    """The engine in this process: `execute` runs it in the thread that calls it.

    Args:
        state: shown until the run has begun: that of its plan.
    """

    kind: Kind = "thread"

    def __init__(self, pipeline: Pipeline, options: RunOptions, state: RunState) -> None:
        super().__init__(state, readonly=False)
        self.pipeline = pipeline
        self.options = options
        self.result: RunResult | None = None
        self.error: QairtError | None = None
        """Why it could not start, or ended without a result."""
        self.over = threading.Event()

    @property
    def folder(self) -> RunFolder | None:
        if not self.state.run_id:
            return None
        return RunFolder(self.pipeline.state_folder / "runs" / self.state.run_id)

    def execute(self) -> None:
        """Run it to its end."""
        from qairt.errors import QairtError
        from qairt.tui.failure import failure_file, note_failure

        self.pipeline.add_listener(self._hear)
        try:
            self.result = self.pipeline.construct(self.options)
        except QairtError as error:
            self.error = error
        except Exception as fault:
            note_failure(fault)
            what = f"the run ended by a fault of qairt: {type(fault).__name__}: {fault}"
            self.error = QairtError(what, remedy=f"finished items are kept; the traceback is in {failure_file()}")
        finally:
            self.over.set()

    def _hear(self, event: ev.Event) -> None:
        self._events.put([event])


class _TailSession(_Queued):
    """Follows a run's file of events in a thread of its own."""

    def __init__(self, folder: RunFolder, *, readonly: bool) -> None:
        super().__init__(RunState(run_id=folder.id, status="running"), readonly=readonly)
        self._folder = folder
        self.tail = EventTail(folder.events)
        self.silent = 0.0
        """Seconds since a run on another machine was heard, once that is suspicious."""
        self._closed = threading.Event()
        self._died = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> RunFolder | None:
        return self._folder

    def poll(self) -> list[ev.Event]:
        found = super().poll()
        if self._died.is_set() and self._events.empty():
            self.state.end_unexpectedly()
        return found

    def close(self) -> None:
        self._closed.set()

    def _follow(self) -> None:
        waited = _LIVENESS
        while not self._closed.is_set():
            found: list[ev.Event] = list(self.tail.read())
            if found:
                self._events.put(found)
                if isinstance(found[-1], ev.RunFinished):
                    return
            if waited >= _LIVENESS:
                waited = 0.0
                liveness = self._folder.liveness()
                self.silent = self._folder.seconds_silent() if liveness == "unknown" else 0.0
                if liveness in ("interrupted", "over") and not found:
                    self._events.put(list(self.tail.read()))
                    self._died.set()
                    return
            self._closed.wait(_INTERVAL)
            waited += _INTERVAL


class HostSession(_TailSession):
    """A run in a process of its own, or in another screen's: followed, and asked by files."""

    kind: Kind = "host"

    def __init__(self, folder: RunFolder, *, readonly: bool = False) -> None:
        super().__init__(folder, readonly=readonly)


class ReplaySession(_TailSession):
    """A run that is over, as it was."""

    kind: Kind = "replay"

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder, readonly=True)
