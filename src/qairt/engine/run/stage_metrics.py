"""`metrics.json`: what each stage took, as its latest run tells it; kept up to date while that run goes on.

{"<stage>": {"status", "run", "started", "wall_seconds", "items", "failed", "seconds", "cpu_seconds", "peak_rss_mb",
             "bytes", "bytes_read", "bytes_written", "by_item": {"<label>": {...}}, … what observers measured}}

A stage that was reused keeps what the run that made it wrote.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from qairt.engine.record import events as ev

if TYPE_CHECKING:
    from qairt.engine.cache.cache import StageCache

MB = 2**20
BETWEEN = 2.0
"""Seconds between two writes of a stage that only goes on."""
SOON = 0.5
"""Seconds between two writes when items end one after another."""

Status = Literal["running", "done", "failed", "interrupted"]


class StageMetrics:
    """Follows a run's events and writes `metrics.json`.

    Args:
        measured: what observers measured so far, by stage; asked while an event is said, so it must say none.
    """

    def __init__(self, cache: StageCache, measured: Callable[[], dict[str, dict[str, Any]]]) -> None:
        self._cache = cache
        self._measured = measured
        self._run = ""
        self._stages: dict[str, dict[str, Any]] = {}
        """Those that ran in this run."""
        self._written = -BETWEEN
        self._news = False
        """Something ended that is not written yet."""
        self._lock = threading.Lock()

    def apply(self, event: ev.Event) -> None:
        """Take one event in. A disk that takes no more costs the file and not the run: `close` says so."""
        with self._lock:
            self._news = self._take(event) or self._news
            age = time.monotonic() - self._written
            going = isinstance(event, ev.ResourceSample) and self._running()
            due = (self._news and age >= SOON) or (going and age >= BETWEEN)
        if due:
            with suppress(OSError):
                self._write()

    def close(self, status: Status) -> None:
        """The run is over: stages that did not come to their end ended as it did.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            for stage in self._stages.values():
                if stage["status"] == "running":
                    stage["status"] = "interrupted" if status == "done" else status
                for item in stage["by_item"].values():
                    if item["status"] == "running":
                        item["status"] = "interrupted"
        self._write()

    # Inside

    def _take(self, event: ev.Event) -> bool:
        """Whether something ended, or began that was not there."""
        match event:
            case ev.RunStarted():
                self._run = event.run_id
            case ev.ItemStarted():  # not the stage: another run may make all of it meanwhile
                self._stage(event.stage, event.time)["status"] = "running"
                self._stages[event.stage]["by_item"][event.label] = {"status": "running", "started": event.time}
                return True
            case ev.ItemFinished():
                self._item_ended(event, "done", event.seconds, bytes=event.bytes)
                return True
            case ev.ItemFailedEvent():
                item = self._stage(event.stage, event.time)["by_item"].get(event.label, {})
                seconds = round(event.time - item.get("started", event.time), 3)
                self._item_ended(event, "failed", seconds, error=str(event.error.get("what") or ""))
                return True
            case ev.ItemSkipped():
                items = self._stages.get(event.stage, {}).get("by_item", {})
                if event.label in items:
                    items[event.label]["status"] = event.kind
            case ev.StageFinished() if event.stage in self._stages:
                stage = self._stages[event.stage]
                stage["status"] = "failed" if _count(stage, "failed") else "done"
                stage["wall_seconds"] = round(event.time - stage["started"], 3)
                return True
        return False

    def _stage(self, name: str, now: float) -> dict[str, Any]:
        if name not in self._stages:
            self._stages[name] = {"status": "running", "run": self._run, "started": now, "by_item": {}}
        return self._stages[name]

    def _item_ended(
        self, event: ev.ItemFinished | ev.ItemFailedEvent, status: Status, seconds: float, **more: Any
    ) -> None:
        stage = self._stage(event.stage, event.time)
        before = stage["by_item"].get(event.label, {})
        stage["by_item"][event.label] = {
            "status": status,
            "started": before.get("started", event.time - seconds),
            "seconds": seconds,
            "cpu_seconds": event.cpu_seconds,
            "peak_rss_mb": round(event.peak_rss / MB, 1),
            "bytes_read": event.bytes_read,
            "bytes_written": event.bytes_written,
            **more,
        }
        stage["wall_seconds"] = round(event.time - stage["started"], 3)

    def _running(self) -> bool:
        return any(stage["status"] == "running" for stage in self._stages.values())

    def _write(self) -> None:
        measured = self._measured()
        with self._lock:
            self._written, self._news = time.monotonic(), False
            document = self._cache.read_metrics()
            for name, stage in self._stages.items():
                document[name] = _totals(stage) | measured.get(name, {})
            for name in measured.keys() - self._stages.keys():
                kept = document.get(name)
                document[name] = (kept if isinstance(kept, dict) else {}) | measured[name]
            self._cache.write_metrics(document)


def _totals(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage's record with the sums over its items."""
    items = stage["by_item"].values()
    made = [item for item in items if item["status"] == "done"]
    sums = {
        name: round(sum(item.get(name, 0) for item in items), 3)
        for name in ("seconds", "cpu_seconds", "bytes", "bytes_read", "bytes_written")
    }
    now = round(time.time() - stage["started"], 3)
    return {
        "status": stage["status"],
        "run": stage["run"],
        "started": stage["started"],
        "wall_seconds": now if stage["status"] == "running" else stage.get("wall_seconds", now),
        "items": len(made),
        "failed": _count(stage, "failed"),
        **sums,
        "peak_rss_mb": max((item.get("peak_rss_mb", 0.0) for item in items), default=0.0),
        "by_item": {label: dict(item) for label, item in stage["by_item"].items()},
    }


def _count(stage: dict[str, Any], status: Status) -> int:
    return sum(item["status"] == status for item in stage["by_item"].values())
