"""A run as screens see it: the same interface whether it executes in this process, in another, or has ended.

Each session keeps one `RunState` current. Events arrive from another thread through a queue; `poll` applies them on the
screen's thread.
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

_POLL_INTERVAL = 0.25  # seconds between reads of an event file
_LIVENESS_INTERVAL = 1.0  # seconds between checks that its process is alive
_EXIT_CODES = {"done": 0, "interrupted": 130}


class EngineSession(Protocol):
    """What screens need of a run."""

    kind: Kind
    state: RunState
    readonly: bool
    """The run takes no requests."""

    @property
    def folder(self) -> RunFolder | None:
        """Where the run keeps its files; None before it has started."""

    @property
    def pending(self) -> dict[str, str]:
        """Unanswered requests: id -> action."""

    @property
    def remark(self) -> str:
        """What the status line adds; may be empty."""

    def poll(self) -> list[ev.Event]:
        """Apply the events since the last call, and return them."""

    def request(self, action: Action, stage: str = "", label: str = "") -> None:
        """Send a request to the run; its answer arrives as an event.

        Raises:
            QairtError: the request cannot be sent.
        """

    def close(self) -> None:
        """Stop following. The run is not affected."""


class _QueuedSession:
    """A queue of events, and requests as files in the run's folder."""

    kind: Kind

    def __init__(self, state: RunState, *, readonly: bool) -> None:
        self.state = state
        self.readonly = readonly
        self._events: queue.SimpleQueue[list[ev.Event]] = queue.SimpleQueue()
        self._pending: dict[str, str] = {}
        self._early: list[tuple[Action, str, str]] = []
        """Requests from before the run had a folder; sent as soon as it has."""

    @property
    def folder(self) -> RunFolder | None:
        return None

    @property
    def pending(self) -> dict[str, str]:
        return dict(self._pending)

    @property
    def remark(self) -> str:
        waiting = [*self._pending.values(), *(action for action, _, _ in self._early)]
        return f"{waiting[0].replace('_', ' ')} requested…" if waiting else ""

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
        if self._early and self.folder is not None:
            early, self._early = self._early, []
            for action, stage, label in early:
                self.request(action, stage, label)
        return found

    def request(self, action: Action, stage: str = "", label: str = "") -> None:
        if self.readonly:
            return
        if self.folder is None:
            self._early.append((action, stage, label))
        else:
            self._pending[self.folder.request(action, stage, label)] = action

    def close(self) -> None:
        pass


class PlanSession(_QueuedSession):
    """No run yet: the state of a plan."""

    kind: Kind = "plan"

    def __init__(self, state: RunState) -> None:
        super().__init__(state, readonly=True)


class ThreadSession(_QueuedSession):
    """A run in this process, executed by the thread that calls `execute`.

    Args:
        state: shown until the run has started: that of its plan.
    """

    kind: Kind = "thread"

    def __init__(self, pipeline: Pipeline, options: RunOptions, state: RunState) -> None:
        super().__init__(state, readonly=False)
        self.pipeline = pipeline
        self.options = options
        self.result: RunResult | None = None
        self.error: QairtError | None = None
        """Why it could not start, or ended without a result."""
        self.finished: ev.RunFinished | None = None
        """Its last event, once that was read."""
        self.over = threading.Event()
        """Set when its records are written too, a moment after its last event."""

    @property
    def folder(self) -> RunFolder | None:
        if not self.state.run_id:
            return None
        return RunFolder(self.pipeline.state_folder / "runs" / self.state.run_id)

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end, and has not ended yet."""
        return self.pipeline.stop.is_set() and not self.over.is_set()

    @property
    def exit_code(self) -> int:
        """How the run ended, for the shell; 0 while it is active."""
        if self.error is not None:
            return self.error.exit_code
        ended = self.result or self.finished
        if ended is not None:
            return _EXIT_CODES.get(ended.status, 1)
        return 1 if self.over.is_set() else 0

    def poll(self) -> list[ev.Event]:
        found = super().poll()
        for event in found:
            if isinstance(event, ev.RunFinished):
                self.finished = event
        return found

    def execute(self) -> None:
        """Execute the run until it ends."""
        from qairt.errors import QairtError
        from qairt.tui.failure import failure_file, write_traceback

        self.pipeline.add_listener(self._receive)
        try:
            self.result = self.pipeline.construct(self.options).result
        except QairtError as error:
            self.error = error
        except Exception as fault:
            write_traceback(fault)
            what = f"the run ended because of a bug in qairt: {type(fault).__name__}: {fault}"
            self.error = QairtError(what, remedy=f"finished items are kept; the traceback is in {failure_file()}")
        finally:
            self.over.set()

    def _receive(self, event: ev.Event) -> None:
        self._events.put([event])


class _TailSession(_QueuedSession):
    """Follows a run's event file in a thread."""

    def __init__(self, folder: RunFolder, *, readonly: bool) -> None:
        super().__init__(RunState(run_id=folder.id, status="running"), readonly=readonly)
        self._folder = folder
        self.tail = EventTail(folder.events)
        self.seconds_silent = 0.0
        """Time since the last sign of a run on another machine; 0 while that is not suspicious."""
        self._closed = threading.Event()
        self._died = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)
        self._thread.start()

    @property
    def folder(self) -> RunFolder | None:
        return self._folder

    @property
    def remark(self) -> str:
        if requested := super().remark:
            return requested
        if self.seconds_silent:
            return f"no heartbeat for {self.seconds_silent:.0f} s"
        return "written by a newer qairt: some events are not shown" if self.tail.newer else ""

    def poll(self) -> list[ev.Event]:
        found = super().poll()
        if self._died.is_set() and self._events.empty():
            self.state.end_unexpectedly()
        return found

    def close(self) -> None:
        self._closed.set()

    def _follow(self) -> None:
        waited = _LIVENESS_INTERVAL
        while not self._closed.is_set():
            found: list[ev.Event] = list(self.tail.read())
            if found:
                self._events.put(found)
                if isinstance(found[-1], ev.RunFinished):
                    return
            if waited >= _LIVENESS_INTERVAL:
                waited = 0.0
                liveness = self._folder.liveness()
                self.seconds_silent = self._folder.seconds_silent() if liveness == "unknown" else 0.0
                if liveness in ("interrupted", "over") and not found:
                    self._events.put(list(self.tail.read()))
                    self._died.set()
                    return
            self._closed.wait(_POLL_INTERVAL)
            waited += _POLL_INTERVAL


class HostSession(_TailSession):
    """An active run in another process: followed through its event file, controlled through request files."""

    kind: Kind = "host"

    def __init__(self, folder: RunFolder, *, readonly: bool = False) -> None:
        super().__init__(folder, readonly=readonly)


class ReplaySession(_TailSession):
    """A finished run, as recorded."""

    kind: Kind = "replay"

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder, readonly=True)
