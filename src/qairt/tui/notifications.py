"""Notifications about what happens in the run on the screen."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.app import App

from qairt.engine.record import events as ev
from qairt.engine.record.sentences import format_event

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


def _output_failure(event: ev.OutputWritten) -> str:
    error = event.error or {}
    what = f"{event.stage} {event.kind}: {error.get('what', 'it could not be written')}"
    return f"{what}\n{error['remedy']}" if error.get("remedy") else what
