"""What the engine says while it works: small records, one JSON line each in `runs/{run_id}/events.jsonl`.

The command line, `--json`, the terminal interface, the report and observers read this one stream and nothing else.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from qairt.engine.files import read_lines


class Event(BaseModel):
    """Base of all events. `time` is in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    time: float = Field(default_factory=time.time)


class PlannedEntry(BaseModel):
    """One item of the plan as a run announces it."""

    stage: str
    label: str
    key: str
    cached: bool
    reason: str
    seconds: float
    """Expected; from history where there is one."""
    from_history: bool


class RunStarted(Event):
    type: Literal["run_started"] = "run_started"
    run_id: str
    recipe: str
    cache_dir: str
    pid: int
    jobs: int
    memory: int
    """Bytes that running items may use together."""
    items: list[PlannedEntry]


class CacheHit(Event):
    type: Literal["cache_hit"] = "cache_hit"
    stage: str
    label: str
    key: str


class ItemStarted(Event):
    type: Literal["item_started"] = "item_started"
    stage: str
    label: str
    key: str
    reason: str
    pid: int | None = None
    log: str
    threads: int


class ItemProgress(Event):
    type: Literal["item_progress"] = "item_progress"
    stage: str
    label: str
    fraction: float
    message: str = ""


class ItemFinished(Event):
    type: Literal["item_finished"] = "item_finished"
    stage: str
    label: str
    key: str
    seconds: float
    peak_rss: int
    """Bytes."""
    bytes: int
    directory: str


class ItemFailedEvent(Event):
    type: Literal["item_failed"] = "item_failed"
    stage: str
    label: str
    error: dict[str, Any]
    log: str


class ItemSkipped(Event):
    """Not run because something before it failed, or the run was interrupted."""

    type: Literal["item_skipped"] = "item_skipped"
    stage: str
    label: str
    because: str


class StageStarted(Event):
    type: Literal["stage_started"] = "stage_started"
    stage: str


class StageFinished(Event):
    type: Literal["stage_finished"] = "stage_finished"
    stage: str


class LogLine(Event):
    type: Literal["log"] = "log"
    level: Literal["info", "warning", "error"] = "info"
    message: str


class ResourceSample(Event):
    """RAM of the process tree in bytes, CPU in percent of one core; GPU fields are None where there is no GPU."""

    type: Literal["resource_sample"] = "resource_sample"
    ram: int
    cpu_percent: float
    gpu_memory: int | None = None
    gpu_percent: float | None = None


class RunFinished(Event):
    type: Literal["run_finished"] = "run_finished"
    status: Literal["done", "failed", "interrupted"]
    seconds: float
    executed: int
    cached: int
    failed: int


AnyEvent = Annotated[
    RunStarted
    | CacheHit
    | ItemStarted
    | ItemProgress
    | ItemFinished
    | ItemFailedEvent
    | ItemSkipped
    | StageStarted
    | StageFinished
    | LogLine
    | ResourceSample
    | RunFinished,
    Field(discriminator="type"),
]

_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(data: dict[str, Any]) -> AnyEvent:
    """An event from its JSON form.

    Raises:
        pydantic.ValidationError: the record is not an event of this version.
    """
    return _adapter.validate_python(data)


def read_events(path: Path) -> list[AnyEvent]:
    """The events of a file so far; a torn last line and records that only a newer version knows are left out."""
    events: list[AnyEvent] = []
    for record in read_lines(path):
        try:
            events.append(parse_event(record))
        except ValidationError:
            continue
    return events
