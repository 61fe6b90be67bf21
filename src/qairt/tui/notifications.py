"""Notifications about what happens in the run on the screen."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import PurePath

from textual.app import App

from qairt.amounts import duration
from qairt.engine.record import events as ev
from qairt.engine.record.sentences import format_event
from qairt.engine.record.state import RunState
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.notice import AFTER, run_command, sequences

_RECENT = 60.0  # seconds


def is_recent(events: Sequence[ev.Event]) -> bool:
    """Whether events are happening now, rather than being read back while attaching."""
    return bool(events) and time.time() - events[0].time <= _RECENT


def notify_of_events(app: App[int], events: Sequence[ev.Event]) -> None:
    """Show failures, answers to requests, warnings and the end of the run."""
    for event in events:
        match event:
            case ev.ItemFailedEvent():
                what = event.error.get("what", "it failed")
                app.notify(f"{event.stage} {event.label}: {what}", severity="error", markup=False, timeout=10)
            case ev.OutputWritten(status="failed"):
                app.notify(_output_failure(event), severity="error", markup=False, timeout=30)
            case ev.RequestAnswered():
                app.notify(event.message, severity="information" if event.done else "warning", markup=False)
            case ev.LogLine() if event.level != "info":
                app.notify(event.message, severity="warning", markup=False)
            case ev.RunFinished():
                for line in format_event(event):
                    app.notify(line, severity="information" if event.status == "done" else "warning", markup=False)


def announce_end(app: App[int], settings: UserSettings, state: RunState) -> None:
    """Tell who looks elsewhere that a run has ended, if it took a minute or more."""
    if state.seconds < AFTER:
        return
    name = PurePath(state.recipe).stem or "run"
    text = f"{name}: run {state.run_id} {state.status} after {duration(state.seconds)}"
    written = sequences(text, settings.notify, os.environ)
    if written and app._driver is not None:
        app._driver.write(written)
    if settings.notify_command:
        facts = {"QAIRT_RUN": state.run_id, "QAIRT_STATE": state.status, "QAIRT_RECIPE": state.recipe}
        run_command(settings.notify_command, text, facts)


def _output_failure(event: ev.OutputWritten) -> str:
    error = event.error or {}
    what = f"{event.stage} {event.kind}: {error.get('what', 'it could not be written')}"
    return f"{what}\n{error['remedy']}" if error.get("remedy") else what
