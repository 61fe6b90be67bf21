"""The run on the screen: its session, its events so far, and the run that this program started."""

from __future__ import annotations

from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder
from qairt.errors import QairtError
from qairt.tui.session import EngineSession, ThreadSession


class ShownRun:
    """One session at a time. Replacing it never touches the run it showed."""

    def __init__(self, session: EngineSession) -> None:
        self.session = session
        self.events: list[ev.Event] = []
        """Events of this session except resource samples, for the plain terminal."""
        self.printed = 0
        """How many of `events` were already printed there."""
        self.own: ThreadSession | None = None
        """The latest run started by this program, whatever is shown now."""
        self._reported: ThreadSession | None = None

    def replace(self, session: EngineSession) -> None:
        """Show another session."""
        if session is not self.session:
            self.session.close()
        self.session = session
        self.events, self.printed = [], 0
        if isinstance(session, ThreadSession):
            self.own = session

    def poll(self) -> list[ev.Event]:
        """Apply the events since the last call, and return them."""
        events = self.session.poll()
        self.events += [event for event in events if not isinstance(event, ev.ResourceSample)]
        return events

    def take_error(self) -> QairtError | None:
        """Why a run of this process could not start, or ended without a final event; reported once per run."""
        session = self.session
        if not isinstance(session, ThreadSession) or session.error is None or session is self._reported:
            return None
        self._reported = session
        session.state.end_unexpectedly()
        session.state.error = session.state.error or str(session.error)
        if session.state.status == "planned":  # it never began
            session.state.status = "failed"
        return session.error

    @property
    def is_in_process(self) -> bool:
        """Whether the run executes in this process, so that the process must outlive the screen."""
        return isinstance(self.session, ThreadSession) and not self.session.over.is_set()

    @property
    def is_active_here(self) -> bool:
        """Whether the run executes in this process and has not told its end."""
        session = self.session  # without the process, its last events may not have been read yet
        return isinstance(session, ThreadSession) and self.is_in_process and session.finished is None

    @property
    def is_active(self) -> bool:
        """Whether the run has not ended."""
        followed = self.session.kind == "host" and self.session.state.status == "running"
        return followed or self.is_active_here

    @property
    def active_folder(self) -> RunFolder | None:
        """The folder of the run while it is active."""
        return self.session.folder if self.is_active else None

    def exit_code(self, plan_error: QairtError | None) -> int:
        """How this program's run ended, or why none could start; 0 when nothing was run.

        Args:
            plan_error: why the recipe cannot be planned.
        """
        if self.own is None:
            return plan_error.exit_code if plan_error is not None and self.session.kind == "plan" else 0
        return self.own.exit_code
