"""The watcher that suits standard output."""

from __future__ import annotations

import threading

from qairt.cli.console import emit, is_terminal
from qairt.cli.watch.watcher import Watcher
from qairt.engine.record import events as ev
from qairt.printable import printable_json


class JsonStream(Watcher):
    """Every event as a line of JSON, as in `events.jsonl`."""

    def show(self, event: ev.Event) -> None:
        emit(printable_json(event.model_dump_json()))


def choose(*, as_json: bool, stop: threading.Event) -> Watcher:
    """JSON if requested, a live region on a terminal, else lines."""
    if as_json:
        return JsonStream()
    if is_terminal():
        from qairt.cli.watch.live import LiveRegion

        return LiveRegion(stop)
    from qairt.cli.watch.lines import EventLines

    return EventLines(stop)
