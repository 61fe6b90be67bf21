"""`RunState.apply(event)`: a pure fold of events into what a screen shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from qairt.engine import events as ev

ItemStatus = Literal["waiting", "cached", "running", "done", "failed", "skipped"]


@dataclass
class ItemState:
    """One item as a watcher sees it."""

    stage: str
    label: str
    status: ItemStatus = "waiting"
    reason: str = ""
    expected_seconds: float = 0.0
    started: float | None = None
    seconds: float = 0.0
    fraction: float = 0.0
    message: str = ""
    peak_rss: int = 0
    bytes: int = 0
    log: str = ""
    error: dict[str, Any] | None = None


@dataclass
class RunState:
    """The state of one run after the events applied so far."""

    run_id: str = ""
    recipe: str = ""
    status: Literal["new", "running", "done", "failed", "interrupted"] = "new"
    started: float = 0.0
    seconds: float = 0.0
    now: float = 0.0
    items: dict[tuple[str, str], ItemState] = field(default_factory=dict)
    log: list[ev.LogLine] = field(default_factory=list)
    last_sample: ev.ResourceSample | None = None

    def apply(self, event: ev.Event) -> None:
        """Take one event in; events of a kind this version does not know change nothing."""
        self.now = max(self.now, event.time)
        match event:
            case ev.RunStarted():
                self.run_id, self.recipe, self.status, self.started = event.run_id, event.recipe, "running", event.time
                for entry in event.items:
                    item = self._item(entry.stage, entry.label)
                    item.reason, item.expected_seconds = entry.reason, entry.seconds
            case ev.CacheHit():
                self._item(event.stage, event.label).status = "cached"
            case ev.ItemStarted():
                item = self._item(event.stage, event.label)
                item.status, item.started, item.log, item.reason = "running", event.time, event.log, event.reason
            case ev.ItemProgress():
                item = self._item(event.stage, event.label)
                item.fraction, item.message = event.fraction, event.message
            case ev.ItemFinished():
                item = self._item(event.stage, event.label)
                item.status, item.fraction = "done", 1.0
                item.seconds, item.peak_rss, item.bytes = event.seconds, event.peak_rss, event.bytes
            case ev.ItemFailedEvent():
                item = self._item(event.stage, event.label)
                item.status, item.error, item.log = "failed", event.error, event.log
            case ev.ItemSkipped():
                item = self._item(event.stage, event.label)
                item.status, item.message = "skipped", event.because
            case ev.LogLine():
                self.log.append(event)
            case ev.ResourceSample():
                self.last_sample = event
            case ev.RunFinished():
                self.status, self.seconds = event.status, event.seconds

    def count(self, *statuses: ItemStatus) -> int:
        return sum(item.status in statuses for item in self.items.values())

    @property
    def fraction(self) -> float:
        """How far the run is, weighted by expected time; cached items weigh nothing."""
        work = [item for item in self.items.values() if item.status != "cached"]
        total = sum(max(item.expected_seconds, 0.01) for item in work)
        done = sum(
            max(item.expected_seconds, 0.01) * (1.0 if item.status in ("done", "failed", "skipped") else item.fraction)
            for item in work
        )
        return done / total if total else 1.0

    def _item(self, stage: str, label: str) -> ItemState:
        return self.items.setdefault((stage, label), ItemState(stage, label))
