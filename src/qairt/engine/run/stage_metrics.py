"""The stages' sections of `metrics.json`, kept up to date while a run is in progress.

{"<stage>": {"status", "run", "started", "wall_seconds", "items", "failed", "seconds", "cpu_seconds", "peak_rss_mb",
             "bytes", "bytes_read", "bytes_written", "by_item": {"<label>": {...}}, … what observers measured}}

A stage that was reused keeps the section of the run that made it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.record import events as ev
from qairt.engine.record.item_state import BUSY, MADE, ItemState
from qairt.engine.record.metrics_file import MetricsFile
from qairt.engine.record.state import RunState, StageState

if TYPE_CHECKING:
    from pydantic import JsonValue

MB = 2**20
UNCHANGED_INTERVAL = 2.0
"""Seconds between two writes while a stage runs and no item ends."""
CHANGED_INTERVAL = 0.5
"""Seconds between two writes while items end."""


class StageMetrics:
    """Writes the state of a run's stages to `metrics.json`.

    Args:
        state: the run's state; each event is applied to it first.
        measurements: what observers have measured so far, by stage; called while an event is emitted, so it must not
            emit one.
    """

    def __init__(
        self,
        state_folder: Path,
        state: RunState,
        measurements: Callable[[], Mapping[str, Mapping[str, JsonValue]]],
    ) -> None:
        self._file = MetricsFile(state_folder)
        self._state = state
        self._measurements = measurements
        self._written = -UNCHANGED_INTERVAL
        self._changed = False
        """An item or stage ended since the last write."""
        self._lock = threading.Lock()

    def apply(self, event: ev.Event) -> None:
        """Write if it is time to. A full disk costs the file and not the run: `close` reports it."""
        with self._lock:
            changes = isinstance(event, (ev.ItemStarted, ev.ItemFinished, ev.ItemFailedEvent, ev.StageFinished))
            self._changed = self._changed or changes
            age = time.monotonic() - self._written
            sampled = isinstance(event, ev.ResourceSample) and any(
                stage.running for stage in self._state.stage_states.values()
            )
            due = (self._changed and age >= CHANGED_INTERVAL) or (sampled and age >= UNCHANGED_INTERVAL)
        if due:
            with suppress(OSError):
                self._write(None)

    def close(self, status: ev.EndStatus) -> None:
        """Write for the last time: stages that have not finished ended like the run.

        Raises:
            OSError: the file cannot be written.
        """
        self._write(status)

    def _write(self, end: ev.EndStatus | None) -> None:
        measurements = self._measurements()
        with self._lock:
            self._written, self._changed = time.monotonic(), False
            stages = {name: self._section(name, stage, end) for name, stage in self._state.stage_states.items()}

            def update(sections: dict[str, JsonValue]) -> None:
                for name, section in stages.items():
                    sections[name] = section | dict(measurements.get(name, {}))
                for name in measurements.keys() - stages.keys():
                    kept = sections.get(name)
                    sections[name] = (kept if isinstance(kept, dict) else {}) | dict(measurements[name])

            self._file.change(update)

    def _section(self, name: str, stage: StageState, end: ev.EndStatus | None) -> dict[str, JsonValue]:
        items = [item for item in self._state.items.values() if item.stage == name and _ran(item)]
        made = [item for item in items if item.status in MADE]
        failed = [item for item in items if item.status == "failed"]
        ended = [*made, *failed]
        status = "failed" if failed else "done"
        if stage.running:
            status = "running" if end is None else "interrupted" if end == "done" else end
        until = stage.ended if stage.ended is not None and not (stage.running and end is None) else time.time()
        return {
            "status": status,
            "run": self._state.run_id,
            "started": stage.started,
            "wall_seconds": round(until - stage.started, 3),
            "items": len(made),
            "failed": len(failed),
            "seconds": round(sum(item.seconds for item in ended), 3),
            "cpu_seconds": round(sum(item.cpu_seconds for item in ended), 3),
            "bytes": sum(item.bytes for item in made),
            "bytes_read": sum(item.bytes_read for item in ended),
            "bytes_written": sum(item.bytes_written for item in ended),
            "peak_rss_mb": max((_megabytes(item.peak_rss) for item in ended), default=0.0),
            "by_item": {item.label: _item_record(item, _status(item, end)) for item in items},
        }


def _ran(item: ItemState) -> bool:
    """Whether the item started or failed in this run, and is not about to run again."""
    return (item.attempt > 0 or item.status == "failed") and item.status not in ("waiting", "ready", "cached")


def _status(item: ItemState, end: ev.EndStatus | None) -> str:
    if item.status in BUSY:
        return "running" if end is None else "interrupted"
    return "done" if item.status == "warn" else item.status


def _item_record(item: ItemState, status: str) -> dict[str, JsonValue]:
    started = item.started if item.started is not None else item.ended
    record: dict[str, JsonValue] = {"status": status, "started": started}
    if status not in ("done", "failed"):
        return record
    record |= {
        "seconds": round(item.seconds, 3),
        "cpu_seconds": item.cpu_seconds,
        "peak_rss_mb": _megabytes(item.peak_rss),
        "bytes_read": item.bytes_read,
        "bytes_written": item.bytes_written,
    }
    if status == "done":
        return record | {"bytes": item.bytes}
    return record | {"error": str((item.error or {}).get("what") or "")}


def _megabytes(size: int) -> float:
    return round(size / MB, 1)
