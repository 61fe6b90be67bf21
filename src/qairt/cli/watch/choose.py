"""The watcher for where standard output goes."""

from __future__ import annotations

import threading

from qairt.cli.console import is_terminal, say
from qairt.cli.watch.watcher import Watcher
from qairt.engine.record import events as ev


class JsonStream(Watcher):
    """Every event as a line of JSON, as in `events.jsonl`."""

    def show(self, event: ev.Event) -> None:
        say(event.model_dump_json())


def choose(*, as_json: bool, stop: threading.Event) -> Watcher:
    """The watcher for where standard output goes."""
    if as_json:
        return JsonStream()
    if is_terminal():
        from qairt.cli.watch.live import LiveRegion

        return LiveRegion(stop)
    from qairt.cli.watch.lines import Lines

    return Lines(stop)
